"""What `up` would make on this host: the list of `stockade up --dry-run`, in the journal's words."""

from collections.abc import Iterator

from stockade.daemon.settings import Settings
from stockade.daemon.site import Site
from stockade.daemon.wiring.names import prefix, services_netns
from stockade.linux import mounts
from stockade.model.journal import HostObject


def what_up_makes(settings: Settings) -> list[HostObject]:
    """In the order in which it is made. Instances add a directory, a cgroup, a link and a process each."""
    return list(_things(settings))


def _things(settings: Settings) -> Iterator[HostObject]:
    site = Site.to_run(settings)
    yield HostObject("directory", str(site.directory), "journal, credentials (0600), last view")
    yield HostObject(
        "directory", str(settings.state_directory), "state.db, images, instances, agent; stays after `down`"
    )
    host, port = settings.listen
    yield HostObject("listener", f"{host}:{port}", "EC2 API and /_stockade/")
    yield HostObject("process", "control", "unprivileged: API and state")
    if not settings.enforcing:
        return
    begin = prefix(settings.site)
    if not any(place == "/sys/fs/bpf" and kind == "bpf" for place, kind, _ in mounts.mount_table()):
        yield HostObject("mount", "/sys/fs/bpf", "bpffs")
    yield HostObject("pin", str(settings.pins), "programs and maps")
    yield HostObject("link", f"{begin}-gw", f"veth; peer {begin}-gwp")
    yield HostObject("filter", f"{begin}-gwp", "tc ingress: from_gateway")
    yield HostObject("route", str(settings.public_pool), f"dev {begin}-gw")
    for device in settings["network.devices"]:
        yield HostObject("filter", device, "tc ingress: from_gateway; only packets to the public pool are touched")
    yield HostObject("netns", services_netns(settings.site), "services: metadata and names for instances")
    yield HostObject("link", f"{begin}-sv", "veth into the services namespace")
    yield HostObject("filter", f"{begin}-sv", "tc ingress: from_services")
    for address in settings.resolver:
        yield HostObject("listener", f"{address}:53", "names of instances for this host")
    yield HostObject("link", f"{begin}-pa", "two test endpoints of the packet proof, removed again")
    yield HostObject("link", f"{begin}-pb", "")
    yield HostObject("link", f"{begin}-i<number>", "one veth an instance")
