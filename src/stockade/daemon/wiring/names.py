"""Names on the host that follow from the site's name alone; cheap to import."""

from stockade.model.ids import HostId

PREFIX_LENGTH = 6  # as datapath.ebpf.settings has it; a test compares the two


def prefix(site: str) -> str:
    """What the names of all our devices start with."""
    return site[:PREFIX_LENGTH]


def host_devices(site: str) -> tuple[str, ...]:
    """Devices that only an agent of this site makes."""
    return tuple(f"{prefix(site)}-{end}" for end in ("gw", "gwp", "sv"))


def is_own_device(site: str, name: str) -> bool:
    """Whether a device of this name is one that this site makes."""
    return name.startswith(f"{prefix(site)}-")


def services_netns(site: str) -> str:
    """Where the services namespace is bound: outside /run/netns, so that `ip netns` lists what it listed before."""
    return f"/run/{site}/services"


THIS_HOST = HostId("host-1")
"""The one host of a site that is not a fleet."""
