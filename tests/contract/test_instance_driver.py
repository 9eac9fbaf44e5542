"""What every instance driver promises, on each of them, in a host namespace without an uplink."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from stockade.instances import record as records
from stockade.instances.container.driver import ContainerDriver
from stockade.instances.container.runtime import find_runtime
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.images.build import Images
from stockade.instances.images.recipes import MICRO
from stockade.instances.namespace.driver import NamespaceDriver
from stockade.linux import links
from stockade.linux.namespaces import in_netns, new_netns, open_netns
from stockade.linux.netlink import Netlink
from stockade.model.addresses import mac_of
from stockade.model.ids import InstanceId, NetworkInterfaceId
from stockade.model.instance import Observed
from stockade.model.journal import HostObject, NoJournal

pytestmark = pytest.mark.root

IMAGES = Path("/var/lib/stockade/images")
SITE = "sktest"
ONE = InstanceId("i-01000001")
Driver = ContainerDriver | NamespaceDriver


@dataclass
class Recorder:
    """A journal that remembers what is said to be on the host."""

    present: set[HostObject] = field(default_factory=set)

    def making(self, *objects: HostObject) -> None:
        self.present |= set(objects)

    def removed(self, *objects: HostObject) -> None:
        self.present -= set(objects)


@dataclass
class Host:
    """A host of its own: network, directories, and a way to start the driver on it, again and again."""

    netns: int
    route: Netlink
    start_driver: Callable[[], Driver]
    directory: Path
    journal: Recorder


def spec(number: int = 1) -> InstanceSpec:
    return InstanceSpec(
        id=InstanceId(f"i-{0x01000000 + number:08x}"),
        interface=NetworkInterfaceId(f"eni-{0x01000000 + number:08x}"),
        number=number,
        recipe="micro",
        mac=mac_of(number),
        address=IPv4Address("10.0.1.0") + number,
        network=IPv4Network("10.0.0.0/8"),
        hostname=f"ip-10-0-1-{number}.stockade.internal",
    )


@pytest.fixture(params=["namespace", "container"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    netns = new_netns()
    route = Netlink(netns)
    journal = Recorder()
    directory = tmp_path / "instances"
    site = f"{SITE}{os.getpid() % 10000}"
    drivers: list[Driver] = []

    def start_container() -> Driver:
        images = Images(IMAGES, NoJournal())
        images.ensure(MICRO)
        runtime = find_runtime(tmp_path / "oci")
        return in_netns(
            netns,
            lambda: ContainerDriver(site, directory=directory, runtime=runtime, images=images, journal=journal),
        )

    def start_namespace() -> Driver:
        command = ["sh", "-c", "echo started; exec sleep 1000"]
        return in_netns(netns, lambda: NamespaceDriver(site, directory=directory, command=command, journal=journal))

    def start_driver() -> Driver:
        drivers.append(start_container() if request.param == "container" else start_namespace())
        return drivers[-1]

    yield Host(netns, route, start_driver, directory, journal)
    last = start_driver()
    for instance in last.observe():
        last.stop(instance)
        last.destroy(instance)
    for driver in drivers:
        driver.close()
    route.close()
    os.close(netns)


@pytest.fixture
def driver(host: Host) -> Driver:
    return host.start_driver()


def device_of(host: Host, name: str) -> links.Link:
    found = links.find_link(host.route, name)
    assert found is not None
    return found


def eventually(claim: Callable[[], bool]) -> bool:
    """Whether it comes true within five seconds."""
    end = time.monotonic() + 5
    while not claim() and time.monotonic() < end:
        time.sleep(0.005)
    return claim()


def test_a_created_instance_has_a_device_that_is_down_and_does_not_run(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    assert not device_of(host, device).up
    assert driver.device(ONE) == device
    assert driver.observe()[ONE].observed is Observed.STARTING


def test_a_started_instance_runs_behind_a_device_that_is_up(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    driver.start(ONE)
    assert device_of(host, device).up
    assert driver.observe()[ONE].observed is Observed.RUNNING


def test_a_device_is_named_after_site_and_interface_number(driver: Driver) -> None:
    assert driver.create(spec(0x2A)) == "sktest-i2a"


def test_an_interface_number_that_fits_no_device_name_is_refused(driver: Driver) -> None:
    with pytest.raises(LaunchFailed, match="does not fit"):
        driver.create(replace(spec(), number=0xF0000001))
    assert driver.observe() == {}


def test_a_stopped_instance_is_gone_and_says_why(driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    driver.stop(ONE)
    status = driver.observe()[ONE]
    assert status.observed is Observed.GONE
    assert status.reason == "its first process ended"


def test_destroy_leaves_nothing(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    driver.start(ONE)
    driver.stop(ONE)
    driver.destroy(ONE)
    assert driver.observe() == {}
    assert driver.device(ONE) is None
    assert links.find_link(host.route, device) is None
    assert list(host.directory.iterdir()) == []
    assert host.journal.present == set()


def test_destroy_ends_what_runs(host: Host, driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    process = driver.process(ONE)
    assert process is not None
    driver.destroy(ONE)
    assert process.wait(5.0)
    assert host.journal.present == set()


def test_what_was_only_created_can_be_destroyed(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    driver.destroy(ONE)
    assert links.find_link(host.route, device) is None
    assert host.journal.present == set()


def test_stop_and_destroy_of_what_is_not_there_have_no_effect(driver: Driver) -> None:
    driver.stop(ONE)
    driver.destroy(ONE)
    assert driver.device(ONE) is None
    assert driver.console(ONE) == b""


def test_everything_on_the_host_is_written_down_before_the_device_exists(host: Host, driver: Driver) -> None:
    seen: list[bool] = []
    making = host.journal.making

    def look_first(*objects: HostObject) -> None:
        seen.append(any(links.find_link(host.route, one.name) for one in objects if one.kind == "link"))
        making(*objects)

    host.journal.making = look_first  # type: ignore[method-assign]
    device = driver.create(spec())
    assert seen == [False]
    assert HostObject("link", device) in host.journal.present
    assert HostObject("directory", str(host.directory / ONE)) in host.journal.present


def test_creating_twice_is_refused_and_leaves_the_first_alone(driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    with pytest.raises(LaunchFailed, match="here already"):
        driver.create(spec())
    assert driver.observe()[ONE].observed is Observed.RUNNING


def test_a_device_that_is_not_the_drivers_is_neither_taken_nor_removed(
    host: Host,
) -> None:
    """Whether another's or another instance's: an interface's number is unique, or there is no launch."""
    driver = host.start_driver()
    if isinstance(driver, NamespaceDriver):
        pytest.skip("for one site's development only")
    device = driver.create(spec(1))
    with pytest.raises(LaunchFailed, match="share its device"):
        driver.create(replace(spec(2), number=1))
    foreign = device.removesuffix("1") + "3"
    links.create_veth(host.route, foreign, "other")
    with pytest.raises(LaunchFailed, match="on this host already"):
        driver.create(spec(3))
    driver.destroy(spec(3).id)
    assert {each.name for each in links.list_links(host.route)} >= {device, foreign}
    assert set(driver.observe()) == {ONE}
    driver.destroy(ONE)
    assert host.journal.present == set()


def test_starting_what_was_not_created_is_refused(driver: Driver) -> None:
    with pytest.raises(LaunchFailed, match="not created"):
        driver.start(ONE)


def test_an_instance_whose_device_was_deleted_is_impaired(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    driver.start(ONE)
    links.delete_link(host.route, device)
    assert driver.device(ONE) is None
    assert driver.observe()[ONE].observed is Observed.IMPAIRED


def test_an_instance_that_ended_by_itself_is_gone(driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    process = driver.process(ONE)
    assert process is not None
    process.end(grace_s=0)
    assert driver.observe()[ONE].observed is Observed.GONE


def test_another_process_finds_running_instances_again_and_can_end_them(host: Host, driver: Driver) -> None:
    device = driver.create(spec())
    driver.start(ONE)
    process = driver.process(ONE)
    driver.close()
    next_one = host.start_driver()
    assert next_one.observe()[ONE].observed is Observed.RUNNING
    assert next_one.device(ONE) == device
    assert next_one.process(ONE) == process
    next_one.stop(ONE)
    next_one.destroy(ONE)
    assert next_one.observe() == {}
    assert host.journal.present == set()


def test_what_died_between_create_and_start_is_seen_as_starting_and_can_be_removed(host: Host, driver: Driver) -> None:
    driver.create(spec())
    driver.close()  # the namespaces go with the one who held them
    next_one = host.start_driver()
    assert next_one.observe()[ONE].observed is Observed.STARTING
    with pytest.raises(LaunchFailed):
        next_one.start(ONE)
    next_one.destroy(ONE)
    assert list(host.directory.iterdir()) == []


def test_the_console_keeps_what_the_instance_printed(driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    assert eventually(lambda: driver.console(ONE) != b"")


def test_the_instance_has_its_address_and_mac_and_a_route_to_anything(host: Host, driver: Driver) -> None:
    driver.create(spec())
    driver.start(ONE)
    process = driver.process(ONE)
    assert process is not None
    with Netlink(f"/proc/{process.pid}/ns/net") as inside:
        eth0 = links.find_link(inside, "eth0")
        assert eth0 is not None
        assert (eth0.mac, eth0.up, eth0.mtu) == (mac_of(1), True, 1500)
        assert (eth0.index, spec().address) in [(index, one.ip) for index, one in links.list_addresses(inside)]
        assert any(route.is_default and route.device == eth0.index for route in links.list_routes(inside))
        assert links.list_routes(inside, socket.AF_INET6) == []
        assert links.list_addresses6(inside) == []


def test_an_instance_with_ipv6_addresses_has_them_at_once_and_one_way_out(host: Host, driver: Driver) -> None:
    addresses = (IPv6Address("fd00:1::1"), IPv6Address("fd00:1::2"))
    driver.create(replace(spec(), addresses6=addresses))
    driver.start(ONE)
    process = driver.process(ONE)
    assert process is not None
    with Netlink(f"/proc/{process.pid}/ns/net") as inside:
        eth0 = links.index_of(inside, "eth0")
        routes = links.list_routes(inside, socket.AF_INET6)
        found = {one for index, one in links.list_addresses6(inside) if index == eth0 and not one.ip.is_link_local}
        assert found == {IPv6Interface(one) for one in addresses}
        assert [(one.gateway, one.device) for one in routes if one.is_default] == [(IPv6Address("fe80::1"), eth0)]
        on_link = {IPv6Network("fe80::/64"), *(IPv6Network(one) for one in addresses)}
        assert {one.destination for one in routes if not one.is_default} <= on_link

    def settled() -> list[str]:
        bound = []
        for address in addresses:  # an address whose absence elsewhere is still being asked about cannot be bound
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
                tried.bind((str(address), 0))
                bound.append(tried.getsockname()[0])
        return bound

    netns = open_netns(process.pid)
    try:
        assert in_netns(netns, settled) == [str(one) for one in addresses]
        for name in ("accept_ra", "autoconf", "accept_redirects"):
            setting = Path("/proc/sys/net/ipv6/conf/eth0") / name
            assert in_netns(netns, setting.read_text) == "0\n"
    finally:
        os.close(netns)


def test_ipv6_addresses_are_on_record(host: Host, driver: Driver) -> None:
    made = replace(spec(), addresses6=(IPv6Address("fd00:1::1"),))
    driver.create(made)
    kept = records.load(host.directory / ONE)
    assert kept is not None
    assert kept.spec == made


def test_instances_can_be_launched_and_ended_several_at_a_time(host: Host, driver: Driver) -> None:
    def launch(number: int) -> InstanceId:
        made = spec(number)
        driver.create(made)
        driver.start(made.id)
        return made.id

    def end(instance: InstanceId) -> None:
        driver.stop(instance)
        driver.destroy(instance)

    with ThreadPoolExecutor(4) as threads:
        launched = list(threads.map(launch, range(1, 7)))
        states = {status.observed for status in driver.observe().values()}
        list(threads.map(end, launched))
    assert states == {Observed.RUNNING}
    assert driver.observe() == {}
    assert host.journal.present == set()
