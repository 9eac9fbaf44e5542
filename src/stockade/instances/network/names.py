"""Instance names: how an address is spelled, and back (architecture N4)."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

from stockade.model.ids import InstanceId

_CLASSIC_REGION = "us-east-1"
_PRIVATE = re.compile(r"ip-(\d+)-(\d+)-(\d+)-(\d+)")
_INSTANCE = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_PUBLIC = re.compile(r"ec2-(\d+)-(\d+)-(\d+)-(\d+)\.(?:compute-1|[a-z0-9-]+\.compute)")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one site. `region` is the one that addresses are spelled in; others are understood too."""

    suffix: str = "stockade.internal"
    region: str = _CLASSIC_REGION

    def public(self, address: IPv4Address, region: str | None = None) -> str:
        """ec2-198-18-0-4.compute-1.<suffix>; other regions than the first spell themselves out."""
        chosen = region or self.region
        zone = "compute-1" if chosen == _CLASSIC_REGION else f"{chosen}.compute"
        return f"ec2-{_dashed(address)}.{zone}.{self.suffix}"

    def private(self, address: IPv4Address) -> str:
        """ip-10-0-0-4.<suffix>"""
        return f"ip-{_dashed(address)}.{self.suffix}"

    def parse_public(self, name: str) -> IPv4Address | None:
        """The address a public name spells, None when it is not one of ours."""
        return _parse(_PUBLIC, self._label(name))

    def parse_private(self, name: str) -> IPv4Address | None:
        """The address a private name spells, None when it is not one of ours."""
        return _parse(_PRIVATE, self._label(name))

    def parse_instance(self, name: str) -> InstanceId | None:
        """The instance that a resource name (i-….<suffix>) is of, None when it is no such name."""
        label = self._label(name)
        return InstanceId(label) if _INSTANCE.fullmatch(label) else None

    def owns(self, name: str) -> bool:
        """Whether we answer for this name, whatever the answer."""
        lowered = name.lower().rstrip(".")
        return lowered == self.suffix or lowered.endswith("." + self.suffix)

    def _label(self, name: str) -> str:
        lowered = name.lower().rstrip(".")
        end = "." + self.suffix
        return lowered[: -len(end)] if lowered.endswith(end) else ""


def _dashed(address: IPv4Address) -> str:
    return str(address).replace(".", "-")


def _parse(pattern: re.Pattern[str], label: str) -> IPv4Address | None:
    found = pattern.fullmatch(label)
    if found is None:
        return None
    octets = found.groups()
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets):
        return None
    return IPv4Address(".".join(octets))
