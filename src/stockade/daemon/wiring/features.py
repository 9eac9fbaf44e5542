"""What this host's kernel lacks, for `stockade doctor`."""

from stockade.datapath.ebpf.features import probe_features


def kernel_lacks() -> list[tuple[str, str]]:
    """What is missing and what to do about it; needs the rights of an agent."""
    return [
        (f"no {found.name} ({found.why})", f"use Linux {found.since} or later")
        for found in probe_features()
        if found.why is not None
    ]
