"""The build hook of the wheel: compiles bpf/ with clang and puts the objects into the package.

They run on every machine whose byte order they have, so the wheel stays `py3-none-any`, and whoever installs it needs
no compiler.
"""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "src/stockade/datapath/ebpf/objects"


class KernelObjects(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before it collects the wheel's files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        checkout = Path(self.root)
        subprocess.run(["sh", "bpf/build.sh", PACKAGE], cwd=checkout, check=True)
        # By name: the demo's deliberately faulty builds may lie there too, and stay there.
        for name in ("stockade.bpf.el.o", "stockade.bpf.eb.o"):
            assert checkout.joinpath(PACKAGE, name).exists(), f"bpf/build.sh made no {name}"
            build_data["artifacts"].append(f"/{PACKAGE}/{name}")
