"""The catalogue as data: layers (file systems) and the recipes that boot them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class Layer:
    """A file system to build. `variant` is mmdebstrap's; `disk_mb` is needed while building, `kept_mb` afterwards."""

    name: str
    variant: str
    packages: tuple[str, ...]
    prepare: str  # script of FILES, run as root with the new tree and FILES as arguments
    disk_mb: int
    kept_mb: int
    takes: str

    @property
    def digest(self) -> str:
        """Names what goes in: packages and every file of ours. Not the packages' versions: built is kept."""
        content = hashlib.sha256(repr((self.variant, self.packages, self.prepare)).encode())
        for file in sorted(FILES.iterdir()):
            content.update(file.name.encode() + b"\0" + file.read_bytes())
        return content.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is: a layer, and the services started in it, the ssh server last."""

    name: str
    layer: Layer
    services: tuple[str, ...]
    description: str

    @property
    def ssh(self) -> str:
        return self.services[-1]


MICRO = Layer(
    name="micro",
    variant="extract",
    packages=("busybox-static", "dropbear-bin"),
    prepare="prepare-micro.sh",
    disk_mb=150,
    kept_mb=10,
    takes="a few seconds",
)

# One file system for four images: 26 s to build instead of 80, and instances of all tiers share its cached pages.
SERVER = Layer(
    name="server",
    variant="essential",
    packages=(
        "apache2",
        "busybox-static",
        "curl",
        "inetutils-telnet",
        "iproute2",
        "iputils-ping",
        "mariadb-server",
        "mount",
        "netbase",
        "nftables",
        "openssh-client",
        "openssh-server",
        "tcpdump",
    ),
    prepare="prepare-server.sh",
    disk_mb=1000,
    kept_mb=200,
    takes="half a minute",
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("micro", MICRO, ("dropbear",), "busybox and dropbear"),
        Recipe("base", SERVER, ("sshd",), "OpenSSH, telnet, nft"),
        Recipe("web", SERVER, ("apache", "sshd"), "base with Apache on port 80"),
        Recipe("app", SERVER, ("app", "sshd"), "base with an application on port 8080"),
        Recipe("database", SERVER, ("mariadb", "sshd"), "base with MariaDB on port 3306"),
    )
}
