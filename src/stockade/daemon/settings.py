"""Settings: option > environment > ./stockade.toml > ~/.config > /etc > default, and where each came from.

A table of keys says all there is: name, kind, default, and what it is for (`stockade config` and the docs read
it). A key that is not in the table is an error with the nearest one named. As root, only files that root owns and
nobody else may write are read, except a file named with --config: `sudo stockade up` in a cloned repository
must not obey the repository (architecture C12).
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

Value = str | bool | int | list[str] | dict[str, Any]


class SettingsError(Exception):
    """What is wrong with the configuration, and how to say it right."""

    def __init__(self, what: str, why: str = "", attempt: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.attempt = attempt


@dataclass(frozen=True, slots=True)
class Key:
    """One setting. `choices` are all the values there are (None: any of its kind)."""

    name: str
    default: Value
    purpose: str
    choices: tuple[str, ...] | None = None


KEYS = (
    Key("site.name", "stockade", "prefix of devices, pins, cgroups, socket and state: several can live side by side"),
    Key("api.listen", "127.0.0.1:8773", "address and port of the endpoint; a loopback address"),
    Key("api.auth", "required", "any accepts every signature; only on loopback", ("required", "any")),
    Key("api.era", "current", "2009 also accepts the old signature versions 0 and 1", ("current", "2009")),
    Key("enforce.mode", "kernel", "none stores groups without enforcing them", ("kernel", "none")),
    Key(
        "enforce.icmp_errors",
        "related",
        "errors about a tracked flow pass with it; strict asks the rules also about those",
        ("related", "strict"),
    ),
    Key("network.default_vpc", "172.31.0.0/16", "the default VPC of each vpc account"),
    Key("network.classic", "10.0.0.0/8", "the classic network of each region"),
    Key("network.public_pool", "198.18.0.0/16", "public addresses of instances, known to this host only"),
    Key("network.ipv6_pool", "fd5c:ec2::/40", "a /56 for each VPC that asks for IPv6; no address of it is translated"),
    Key("network.uplink", "none", "what instances reach outside their region: nothing", ("none",)),
    Key("network.devices", [], "devices of this host where traffic from elsewhere to public addresses arrives"),
    Key("network.dns_suffix", "stockade.internal", "the domain of instance names"),
    Key("network.resolver", ["127.0.0.153"], "addresses of this host on which instance names are answered, port 53"),
    Key("network.mtu", 1500, "of instance devices"),
    Key("regions", {"us-east-1": ["us-east-1a", "us-east-1b", "us-east-1c"]}, "regions and their zones"),
    Key("images.path", "", "where built images are kept; default beside the state; sites may share one"),
    Key("images.alias", {}, "unknown ami ids and the catalogue image each stands for"),
    Key("images.unknown", "refuse", "base: any unknown ami id starts the base image", ("refuse", "base")),
    Key("quotas.rules_per_group", 60, "per direction, vpc accounts"),
    Key("quotas.groups_per_interface", 5, "vpc accounts"),
    Key("quotas.groups", 2500, "per account and region, vpc accounts"),
    Key("quotas.vpcs", 5, "per account and region, the default one too"),
    Key("quotas.subnets", 200, "per VPC"),
    Key("quotas.prefix_lists", 100, "per account and region"),
    Key("quotas.instances", 1000, "per account and region"),
    Key(
        "quotas.tracked_flows", 32768, "per interface; beyond, its half-open flows are forgotten, then new ones dropped"
    ),
    Key("state.store", "sqlite", "where resources are kept", ("sqlite",)),
    Key("state.path", "", "default /var/lib/<site>/state.db; its directory belongs to Stockade alone"),
)
_VPC_PREFIX = 56
_NOT_FOR_INSTANCES = tuple(map(IPv6Network, ("::/8", "fe80::/10", "ff00::/8", "fd00:ec2::/32")))
_TRACKED_FLOWS = (64, 131_072)
_BY_NAME = {key.name: key for key in KEYS}
_TABLES = ("regions", "images.alias")  # their keys are the user's own


@dataclass(frozen=True, slots=True)
class Origin:
    """A value and where it came from: "default", "option --x", "environment X" or a file's path."""

    value: Value
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Every key with its value and origin; the properties are what the daemon reads."""

    values: Mapping[str, Origin]
    ignored: tuple[Path, ...] = ()
    """Files that were there but are not root's, while we are."""
    user: int = 0
    home: Path = Path("/root")

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    @property
    def site(self) -> str:
        return str(self["site.name"])

    @property
    def run_directory(self) -> Path:
        """Of a daemon that runs as root; without root (enforce.mode none) it is the user's own."""
        return self.system_run_directory if self.user == 0 else self.own_run_directory

    @property
    def system_run_directory(self) -> Path:
        return Path("/run") / self.site

    @property
    def own_run_directory(self) -> Path:
        return self.home / ".local" / "state" / self.site / "run"

    @property
    def state_path(self) -> Path:
        if self["state.path"]:
            return Path(self["state.path"])
        return (Path("/var/lib") if self.user == 0 else self.home / ".local" / "state") / self.site / "state.db"

    @property
    def state_directory(self) -> Path:
        return self.state_path.parent

    @property
    def images_directory(self) -> Path:
        return Path(self["images.path"] or self.state_directory / "images")

    @property
    def own_places(self) -> tuple[Path, ...]:
        """Beside the run directory, where what instances and images leave behind may be removed."""
        return self.state_directory / "instances", self.images_directory, self.agent_directory

    @property
    def agent_directory(self) -> Path:
        """What the agent keeps from one boot to the next: the last enforced view."""
        return self.state_directory / "agent"

    @property
    def pins(self) -> Path:
        return Path("/sys/fs/bpf") / self.site

    @property
    def listen(self) -> tuple[str, int]:
        host, _, port = str(self["api.listen"]).rpartition(":")
        return host, int(port)

    @property
    def endpoint(self) -> str:
        host, port = self.listen
        return f"http://{host}:{port}"

    @property
    def public_pool(self) -> IPv4Network:
        return IPv4Network(self["network.public_pool"])

    @property
    def ipv6_pool(self) -> IPv6Network:
        return IPv6Network(self["network.ipv6_pool"])

    @property
    def resolver(self) -> tuple[IPv4Address, ...]:
        return tuple(IPv4Address(text) for text in self["network.resolver"])

    @property
    def enforcing(self) -> bool:
        return bool(self["enforce.mode"] == "kernel")


def load(
    options: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
    user: int | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings in force. `options` are keys given on the command line. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    user = os.geteuid() if user is None else user
    values = {key.name: Origin(key.default, "default") for key in KEYS}
    ignored = []
    for path in _files(environment, config, directory or Path.cwd()):
        if path == config or _trusted(path, user):
            values.update(_from_file(path))
        else:
            ignored.append(path)
    values.update(_from_environment(environment))
    for name, text in (options or {}).items():
        values[name] = Origin(_convert(name, text, f"option {name}"), f"option {name}")
    settings = Settings(values, tuple(ignored), user, Path(environment.get("HOME") or "/"))
    _check(settings)
    return settings


def _files(environment: Mapping[str, str], config: Path | None, directory: Path) -> list[Path]:
    """The files to read, the weakest first."""
    named = config or (Path(environment["STOCKADE_CONFIG"]) if environment.get("STOCKADE_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise SettingsError(f"configuration file {named} does not exist")
        return [named]
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    candidates = [
        Path("/etc/stockade/stockade.toml"),
        home / "stockade" / "config.toml",
        directory / "stockade.toml",
    ]
    return [path for path in candidates if path.is_file()]


def _trusted(path: Path, user: int) -> bool:
    """As root: only what root owns and nobody else may write, all the way up. Else whatever we can read."""
    if user != 0:
        return True
    for place in (path.resolve(), *path.resolve().parents):
        about = place.stat()
        sticky = bool(about.st_mode & stat.S_ISVTX)
        if about.st_uid != 0 or (about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky):
            return False
    return True


def _from_file(path: Path) -> dict[str, Origin]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path} is not TOML", why=str(err)) from err
    return {name: Origin(_convert(name, value, str(path)), str(path)) for name, value in _flat(tables).items()}


def _flat(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        full = f"{above}{name}"
        if isinstance(value, dict) and full not in _TABLES:
            flat.update(_flat(value, full + "."))
        else:
            flat[full] = value
    return flat


def _from_environment(environment: Mapping[str, str]) -> dict[str, Origin]:
    """STOCKADE_<SECTION>_<KEY>, and the two short names."""
    spelled = {f"STOCKADE_{name.replace('.', '_').upper()}": name for name in _BY_NAME}
    spelled |= {"STOCKADE_STATE": "state.path", "STOCKADE_ENFORCE": "enforce.mode", "STOCKADE_SITE": "site.name"}
    return {
        name: Origin(_convert(name, environment[variable], variable), f"environment {variable}")
        for variable, name in spelled.items()
        if environment.get(variable)
    }


def _convert(name: str, value: Any, where: str) -> Value:
    key = _BY_NAME.get(name)
    if key is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.5)
        raise SettingsError(
            f"{where}: there is no setting {name}",
            why=f"did you mean {near[0]}?" if near else "its section or name is unknown",
            attempt="stockade config",
        )
    if isinstance(value, str) and not isinstance(key.default, str):
        value = _parse(key, value, where)
    if type(value) is not type(key.default):
        raise SettingsError(f"{where}: {name} must be {_KINDS[type(key.default)]}, not {value!r}")
    if key.choices is not None and value not in key.choices:
        raise SettingsError(f"{where}: {name} must be {' or '.join(key.choices)}, not {value!r}")
    checked: Value = value
    return checked


_KINDS = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "a table"}


def _parse(key: Key, text: str, where: str) -> Value:
    """Text of the environment or the command line: TOML, or for a list the items joined by commas."""
    if isinstance(key.default, list) and not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        parsed: Value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{where}: {key.name} must be {_KINDS[type(key.default)]}, not {text!r}") from err
    return parsed


def _check(settings: Settings) -> None:
    """What one value alone cannot tell."""
    site = settings.site
    if not site or len(site) > 32 or not site.replace("-", "").isalnum() or not site.islower() or site[0] == "-":
        raise SettingsError(f"site.name must be lower-case letters, digits and dashes (at most 32), not {site!r}")
    _check_networks(settings)
    _check_ipv6_pool(settings)
    low, high = _TRACKED_FLOWS
    if not low <= settings["quotas.tracked_flows"] <= high:
        raise SettingsError(
            f"quotas.tracked_flows must be from {low} to {high}, not {settings['quotas.tracked_flows']}"
        )
    host, _, port = str(settings["api.listen"]).rpartition(":")
    try:
        loopback = IPv4Address(host).is_loopback and 0 < int(port) < 65536
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(
            f"api.listen must be a loopback address and a port, not {settings['api.listen']!r}",
            why="other addresses need TLS, which is not there yet",
            attempt='listen = "127.0.0.1:8773"',
        )
    if not settings["regions"] or not all(_zones(zones) for zones in settings["regions"].values()):
        raise SettingsError("regions must name at least one region, each with a list of zones")


def _zones(zones: Any) -> bool:
    return isinstance(zones, list) and bool(zones) and all(isinstance(zone, str) for zone in zones)


def _check_ipv6_pool(settings: Settings) -> None:
    text = settings["network.ipv6_pool"]
    try:
        pool = IPv6Network(text)
    except ValueError as err:
        raise SettingsError(f"network.ipv6_pool must be an IPv6 network, not {text!r}", why=str(err)) from err
    if pool.prefixlen > _VPC_PREFIX:
        raise SettingsError(f"network.ipv6_pool {pool} has no room for a network of /{_VPC_PREFIX}")
    if any(pool.overlaps(taken) for taken in _NOT_FOR_INSTANCES):
        raise SettingsError(
            f"network.ipv6_pool {pool} overlaps what is link-local, multicast or of EC2's services",
            attempt='ipv6_pool = "fd5c:ec2::/40"',
        )


def _check_networks(settings: Settings) -> None:
    blocks: dict[str, IPv4Network] = {}
    for name in ("network.default_vpc", "network.classic", "network.public_pool"):
        try:
            blocks[name] = IPv4Network(settings[name])
        except ValueError as err:
            raise SettingsError(f"{name} must be an IPv4 network, not {settings[name]!r}", why=str(err)) from err
    pool = blocks.pop("network.public_pool")
    for name, block in blocks.items():
        if pool.overlaps(block):
            raise SettingsError(f"network.public_pool {pool} overlaps {name} {block}")
    for text in settings["network.resolver"]:
        try:
            one = IPv4Address(text)
        except ValueError:
            one = IPv4Address(0)
        # Not "all addresses": whoever wants a network's machines to ask here names the address they ask.
        if one.is_unspecified or one.is_multicast:
            raise SettingsError(f"network.resolver must be addresses of this host, not {text!r}")
