"""`./dev bench launch`: 29 instances until every ssh server has said its name, against podman's 29 containers.

As Mary launches them: 7 web, 20 application and 2 database servers, into groups that also allow ssh from one address,
through the API with boto3; the banners are read on the public addresses. Podman starts the same services from the
same root file system, eight at a time or all at once, whichever is quicker on this machine. Then the same with one.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.harness import Options, Report, interleaved, progress, run
from bench.podman import Container, Podman, version
from netns.site import IMAGES, TestSite, until
from stockade.instances.images.build import Images
from stockade.instances.images.recipes import SERVER
from stockade.linux.namespaces import in_netns
from stockade.model.journal import NoJournal

TIERS = (("web", "ami-fba54092", 7), ("app", "ami-e3a5408a", 20), ("database", "ami-f1a54098", 2))
ALONE = (("web", "ami-fba54092", 1),)
_DEADLINE_S = 120.0
Tiers = Sequence[tuple[str, str, int]]


def measure(options: Options) -> Report:
    """Podman's better way is found first, then both take turns."""
    layer = Images(IMAGES, NoJournal()).ensure(SERVER, progress)
    progress(f"podman {version()}")
    count = options.rounds(full=5, quick=1)
    with _running() as site, Podman(layer, parallel=_podmans_best(layer, options)) as podman:
        ec2 = site.client()
        groups = _groups(site, ec2)

        def stockade(tiers: Tiers) -> Callable[[], float]:
            return lambda: _stockade_round(site, ec2, groups, tiers)

        def peer(tiers: Tiers) -> Callable[[], float]:
            return lambda: _podman_round(podman, tiers)

        stockade(ALONE)()  # what is made once for a site: the image's mount, the first connection
        alone = interleaved(
            options.rounds(full=9, quick=3), {"stockade": stockade(ALONE), "podman": peer(ALONE)}, "launch 1"
        )
        all_29 = interleaved(count, {"stockade": stockade(TIERS), "podman": peer(TIERS)}, "launch 29")
    report = Report(len(all_29.results))
    for name, rounds in (("banner_29", all_29), ("banner_1", alone)):
        report.spread(f"{name}.stockade", rounds.of("stockade"))
        report.spread(f"{name}.podman", rounds.of("podman"))
        report.spread(f"{name}.stockade/podman", rounds.ratio("stockade", "podman"), at_most=0.8)
    return report


def _podmans_best(layer: Path, options: Options) -> int:
    took = {}
    for parallel in (8, 29):
        with Podman(layer, parallel) as podman:
            took[parallel] = _podman_round(podman, TIERS)
        progress(f"podman, {parallel} at a time: {took[parallel]:.2f} s")
        if options.quick:
            break
    return min(took, key=lambda parallel: took[parallel])


@contextmanager
def _running() -> Iterator[TestSite]:
    site = TestSite()
    try:
        site.up()
        yield site
        site.stockade("down")
    finally:
        site.end()


def _groups(site: TestSite, ec2: Any) -> dict[str, str]:
    """A group for each tier that allows ssh from the address this host has towards instances, and from no other."""
    source = site.inside(_own_address)
    groups = {}
    for tier, _, _ in TIERS:
        group = ec2.create_security_group(GroupName=f"bench-{tier}", Description=tier)["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp=f"{source}/32"
        )
        groups[tier] = group
    return groups


def _own_address() -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect(("198.18.0.1", 9))
        return str(probe.getsockname()[0])


def _stockade_round(site: TestSite, ec2: Any, groups: dict[str, str], tiers: Tiers) -> float:
    began = time.perf_counter()
    made: list[str] = []
    for tier, image, count in tiers:
        answer = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, SecurityGroupIds=[groups[tier]])
        made += [one["InstanceId"] for one in answer["Instances"]]
    addresses = until(lambda: _addresses(ec2, made), _DEADLINE_S)
    _read_banners(site.space, addresses)
    took = time.perf_counter() - began
    ec2.terminate_instances(InstanceIds=made)
    until(lambda: _all_ended(ec2, made), _DEADLINE_S)
    return took


def _podman_round(podman: Podman, tiers: Tiers) -> float:
    recipes = [recipe for recipe, _, count in tiers for _ in range(count)]
    containers = [Container(number, recipe) for number, recipe in enumerate(recipes, start=1)]
    began = time.perf_counter()
    # Not before it runs: whoever asks for an address that nobody has yet is held up by ARP, and podman would look slow.
    podman.start(containers, lambda one: _read_banners(podman.netns, [one.address]))
    took = time.perf_counter() - began
    podman.remove_all()
    return took


def _instances(ec2: Any, made: list[str]) -> list[dict[str, Any]]:
    answer = ec2.describe_instances(InstanceIds=made)
    return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]


def _addresses(ec2: Any, made: list[str]) -> list[str]:
    found = [one.get("PublicIpAddress") for one in _instances(ec2, made)]
    return [] if None in found or len(found) != len(made) else [str(one) for one in found]


def _all_ended(ec2: Any, made: list[str]) -> bool:
    return all(one["State"]["Name"] == "terminated" for one in _instances(ec2, made))


def _read_banners(netns: int, addresses: Sequence[str]) -> None:
    """Return when each of them has said SSH-2.0."""

    def inside() -> None:
        deadline = time.monotonic() + _DEADLINE_S
        waiting = list(addresses)
        while waiting:
            waiting = [address for address in waiting if not _says_its_name(address)]
            if waiting and time.monotonic() > deadline:
                raise TimeoutError(f"no banner from {', '.join(waiting)}")
            time.sleep(0.01)

    in_netns(netns, inside)


def _says_its_name(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=0.2) as opened:
            opened.settimeout(5.0)
            return opened.recv(64).startswith(b"SSH-2.0")
    except OSError:
        return False


if __name__ == "__main__":
    if subprocess.run(["which", "podman"], capture_output=True, check=False).returncode:
        sys.exit("the bench compares with podman, which is not installed: apt-get install podman")
    run("launch", measure)
