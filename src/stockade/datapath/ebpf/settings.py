"""What an eBPF datapath is told about its host. Everything explicit: it reads no file and no environment."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

PREFIX_LENGTH = 6
"""Interface names have 15 characters; instances need nine of them behind the site's part."""


@dataclass(frozen=True, slots=True)
class EbpfSettings:
    """One site on one host.

    `pins`: a directory in a mounted bpffs (`pins.mount_bpffs` mounts one); maps and programs outlive us there.
    `services_namespace`: the file that keeps the services network namespace, as /run/netns/NAME does.
    `uplinks`: devices where traffic "from elsewhere" to the public pool arrives.
    `gateway_address`: the host's source towards instances; None: as the host's routing picks it, and the last
    address of the pool where the host has no address of its own.
    `public_pool6`: where interfaces have the IPv6 addresses by which outsiders may meet them; None: nobody may.
    `flows_tcp`, `flows_other`: room for flows over IPv4, and as much over IPv6.
    `allowance`: flows of one endpoint, tracked and untracked each.
    `event_limit`: flow events of one endpoint in 67 ms.
    `strict_icmp_errors`: an error about a flow needs a rule that lets it in.
    `fault`: "", or a deliberately faulty build ("antispoof", "ingress") that the demo must catch.
    """

    site: str
    pins: Path
    public_pool: IPv4Network
    services_namespace: Path
    uplinks: tuple[str, ...] = ()
    gateway_address: IPv4Address | None = None
    flows_tcp: int = 131_072
    flows_other: int = 65_536
    public_pool6: IPv6Network | None = None
    allowance: int = 32_768
    strict_icmp_errors: bool = False
    event_limit: int = 500
    fault: str = ""

    @property
    def prefix(self) -> str:
        """What the names of all our devices start with."""
        return self.site[:PREFIX_LENGTH]

    @property
    def gateway_device(self) -> str:
        """The end of the gateway link that the host's own stack uses."""
        return f"{self.prefix}-gw"

    @property
    def gateway_peer(self) -> str:
        """The other end of the gateway link, where `from_gateway` judges."""
        return f"{self.prefix}-gwp"

    @property
    def services_device(self) -> str:
        """The host's end of the services link."""
        return f"{self.prefix}-sv"
