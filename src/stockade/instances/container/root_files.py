"""The part of an instance's root that is its own from the start: names, addresses, its host key."""

import os
from collections.abc import Iterator
from pathlib import Path

from stockade.instances.container.host_keys import HostKey
from stockade.instances.contract import InstanceSpec


def write_own_files(upper: Path, spec: InstanceSpec, key: HostKey, first_id: int) -> None:
    """Lay them into the overlay's upper directory, owned by the instance's root."""
    for name, content, mode in _own_files(spec, key):
        place = upper / name
        for folder in reversed(place.relative_to(upper).parents[:-1]):
            if not (upper / folder).exists():
                (upper / folder).mkdir(mode=0o755)
                os.chown(upper / folder, first_id, first_id)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            os.write(fd, content)
            os.fchown(fd, first_id, first_id)
        finally:
            os.close(fd)


def _own_files(spec: InstanceSpec, key: HostKey) -> Iterator[tuple[str, bytes, int]]:
    short = spec.hostname.partition(".")[0]
    yield "etc/hostname", f"{short}\n".encode(), 0o644
    names = spec.hostname if short == spec.hostname else f"{spec.hostname} {short}"
    lines = ["127.0.0.1 localhost\n", *(f"{address} {names}\n" for address in (spec.address, *spec.addresses6))]
    if spec.addresses6:
        lines.insert(1, "::1 localhost\n")
    yield "etc/hosts", "".join(lines).encode(), 0o644
    yield key.path, key.content, 0o600
