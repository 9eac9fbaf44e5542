"""Interfaces that run: groups swapped, switches, timers, cuts, and devices that somebody else made."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from stockade.model import keys
from stockade.model.account import Platform
from stockade.model.errors import (
    AdminOnly,
    AttributeFixed,
    GroupInUse,
    GroupNotFound,
    ParameterInvalid,
    ParameterMissing,
    QuotaExceeded,
    ResourceNotFound,
)
from stockade.model.ids import HostId, VpcId
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import put
from stockade.model.rule import Direction
from stockade.model.tracking import ConnectionTracking
from stockade.model.vpc import Vpc
from stockade.service.accounts import Accounts
from stockade.service.call import calling
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.cuts import Cuts
from stockade.service.devices import Devices
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.membership import Interfaces
from stockade.service.rules import RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups

IN = Direction.INGRESS
MICRO = "ami-eca54085"
ELSEWHERE = VpcId("vpc-01000000")


def groups_of(cell: Cell, interface: NetworkInterface) -> list[str]:
    return [cell.resources.groups[id].name for id in cell.resources.interfaces[interface.id].groups]


async def group(cell: Cell, caller: Caller, name: str, vpc: str | None = None) -> str:
    return (await SecurityGroups(cell).create(caller, name, "d", vpc)).id


async def launched(cell: Cell, caller: Caller, *groups: str) -> NetworkInterface:
    request = LaunchRequest(MICRO, groups=tuple(GroupRef(name=name) for name in groups))
    (one,) = (await Instances(cell).run(caller, request)).instances
    return cell.resources.interfaces[one.instance.interface]


@pytest.fixture
async def web(cell: Cell, vera: Caller) -> str:
    return await group(cell, vera, "web")


@pytest.fixture
async def one(cell: Cell, vera: Caller, web: str) -> NetworkInterface:
    """An interface in the group web."""
    assert web
    return await launched(cell, vera, "web")


class TestGroups:
    async def test_they_are_replaced_while_it_runs(
        self, cell: Cell, vera: Caller, one: NetworkInterface, web: str
    ) -> None:
        app, db = await group(cell, vera, "app"), await group(cell, vera, "db")
        await Interfaces(cell).set_groups(vera, one.id, [app, db, app])
        assert groups_of(cell, one) == ["app", "db"]
        assert [member.id for member in cell.resources.members_of(cell.resources.groups[one.groups[0]].id)] == []
        await SecurityGroups(cell).delete(vera, GroupRef(id=web))
        with pytest.raises(GroupInUse):
            await SecurityGroups(cell).delete(vera, GroupRef(id=app))

    async def test_an_interface_is_never_in_none_nor_in_more_than_five(
        self, cell: Cell, vera: Caller, one: NetworkInterface
    ) -> None:
        many = [await group(cell, vera, f"g{n}") for n in range(6)]
        with pytest.raises(ParameterInvalid):
            await Interfaces(cell).set_groups(vera, one.id, [])
        with pytest.raises(QuotaExceeded):
            await Interfaces(cell).set_groups(vera, one.id, many)
        await Interfaces(cell).set_groups(vera, one.id, many[:5])
        assert len(groups_of(cell, one)) == 5

    async def test_a_group_of_another_vpc_is_not_found(self, cell: Cell, vera: Caller, one: NetworkInterface) -> None:
        block = cell.settings.default_vpc
        await cell.ledger.commit([], [put(Vpc(ELSEWHERE, 900, vera.account.id, "us-east-1", block))])
        theirs = await group(cell, vera, "side", ELSEWHERE)
        with pytest.raises(GroupNotFound):
            await Interfaces(cell).set_groups(vera, one.id, [theirs])
        assert groups_of(cell, one) == ["web"]

    async def test_on_classic_they_are_fixed_at_launch(self, cell: Cell, albert: Caller) -> None:
        interface = await launched(cell, albert)
        assert interface.instance is not None
        with pytest.raises(AttributeFixed):
            Interfaces(cell).of_instance(albert, interface.instance, "groupSet")
        with pytest.raises(ResourceNotFound):
            Interfaces(cell).find(albert, interface.id)
        assert await Interfaces(cell).describe(albert) == []

    async def test_nobody_elses_interface_is_found(self, cell: Cell, mary: Caller, one: NetworkInterface) -> None:
        with pytest.raises(ResourceNotFound):
            await Interfaces(cell).set_source_dest_check(mary, one.id, False)


async def test_the_switches_of_an_interface_are_set_and_shown(cell: Cell, vera: Caller, one: NetworkInterface) -> None:
    interfaces = Interfaces(cell)
    await interfaces.set_source_dest_check(vera, one.id, False)
    await interfaces.set_tracking(vera, one.id, lambda timers: ConnectionTracking(60, timers.udp_stream, 45))
    (shown,) = await interfaces.describe(vera, [one.id])
    assert not shown.interface.source_dest_check
    assert shown.interface.tracking == ConnectionTracking(60, 180, 45)
    assert [name for _, name in shown.groups] == ["web"]
    assert shown.instance is not None and shown.instance.interface == one.id
    with pytest.raises(ParameterInvalid):
        await interfaces.set_tracking(vera, one.id, lambda timers: ConnectionTracking(59))


class TestCuts:
    async def test_a_change_of_rules_cuts_the_members_when_asked(
        self, cell: Cell, vera: Caller, one: NetworkInterface
    ) -> None:
        other = await launched(cell, vera)
        ssh = RuleRequest(6, 22, 22, GroupRef(name="default"))
        await Rules(cell).authorize(vera, GroupRef(name="web"), IN, [ssh])
        assert cell.resources.interfaces[one.id].cuts == 0
        with calling(cut=True):
            await Rules(cell).revoke(vera, GroupRef(name="web"), IN, [ssh])
        assert cell.resources.interfaces[one.id].cuts == 1
        assert cell.resources.interfaces[other.id].cuts == 0

    async def test_a_change_of_groups_cuts_it_and_whoever_has_rules_about_them(
        self, cell: Cell, vera: Caller, one: NetworkInterface
    ) -> None:
        await group(cell, vera, "app")
        behind = await launched(cell, vera, "app")
        bystander = await launched(cell, vera)
        await Rules(cell).authorize(vera, GroupRef(name="app"), IN, [RuleRequest(6, 80, 80, GroupRef(name="web"))])
        isolated = await group(cell, vera, "isolated")
        with calling(cut=True):
            await Interfaces(cell).set_groups(vera, one.id, [isolated])
        cuts = [cell.resources.interfaces[each.id].cuts for each in (one, behind, bystander)]
        assert cuts == [1, 1, 0]
        assert groups_of(cell, one) == ["isolated"]

    async def test_a_group_or_an_interface_is_cut_without_a_change(
        self, cell: Cell, vera: Caller, albert: Caller, one: NetworkInterface
    ) -> None:
        assert await Cuts(cell).cut_group(vera, GroupRef(name="web")) == (one.id,)
        assert await Cuts(cell).cut_interface(vera, one.id) == one.id
        assert cell.resources.interfaces[one.id].cuts == 2
        with pytest.raises(ResourceNotFound):
            await Cuts(cell).cut_interface(albert, one.id)
        assert await Cuts(cell).cut_group(vera, GroupRef(name="default")) == ()


class TestDevices:
    HOST = HostId("host-1")
    MAC = "02:42:AC:11:00:02"
    ADDRESSES = (IPv4Address("172.17.0.2"), IPv6Address("fd00::2"))

    @pytest.fixture
    async def admin(self, cell: Cell) -> Caller:
        return Caller(
            (await Accounts(cell).create("admin", "999999999999", Platform.VPC, admin=True)).account, "us-east-1"
        )

    async def test_one_is_put_under_groups_and_let_go_of(
        self, cell: Cell, vera: Caller, admin: Caller, web: str
    ) -> None:
        made = await Devices(cell).attach_device(admin, self.HOST, "veth1a2b", self.MAC, self.ADDRESSES, [web])
        assert (made.device, made.mac, made.addresses) == ("veth1a2b", self.MAC.lower(), self.ADDRESSES)
        assert (made.account, made.host, made.instance) == (vera.account.id, self.HOST, None)
        assert [one.interface for one in await Interfaces(cell).describe(vera)] == [made]
        with pytest.raises(GroupInUse):
            await SecurityGroups(cell).delete(vera, GroupRef(id=web))
        assert Devices(cell).attached(admin) == [made]
        assert await Devices(cell).detach_device(admin, "veth1a2b") == made
        assert not [key for key in cell.resources.all_keys() if made.id in (key, cell.resources.claims.get(key))]
        again = await Devices(cell).attach_device(admin, self.HOST, "veth1a2b", self.MAC, self.ADDRESSES, [web])
        await Devices(cell).detach_device(admin, again.id)
        assert keys.device(self.HOST, "veth1a2b") not in cell.resources.claims

    @pytest.mark.parametrize(
        ("device", "mac", "addresses"),
        [
            ("sixteen-letters-", MAC, ADDRESSES),
            ("a/b", MAC, ADDRESSES),
            ("..", MAC, ADDRESSES),
            ("veth2", "01:00:5e:00:00:01", ADDRESSES),
            ("veth2", "nonsense", ADDRESSES),
            ("veth2", MAC, ()),
            ("veth2", MAC, (IPv4Address("224.0.0.1"),)),
            ("veth2", MAC, (IPv6Address("fe80::1"),)),
            ("veth1", "02:42:ac:11:00:03", (IPv4Address("172.17.0.3"),)),
            ("veth2", MAC, (IPv4Address("172.17.0.3"),)),
            ("veth2", "02:42:ac:11:00:03", ADDRESSES),
        ],
    )
    async def test_what_cannot_be_is_refused(
        self, cell: Cell, admin: Caller, web: str, device: str, mac: str, addresses: tuple[IPv4Address, ...]
    ) -> None:
        devices = Devices(cell)
        first = await devices.attach_device(admin, self.HOST, "veth1", self.MAC, self.ADDRESSES, [web])
        with pytest.raises(ParameterInvalid):
            await devices.attach_device(admin, self.HOST, device, mac, addresses, [web])
        assert devices.attached(admin) == [first]

    async def test_groups_are_of_one_network_and_account(
        self, cell: Cell, vera: Caller, mary: Caller, admin: Caller, web: str
    ) -> None:
        classic = await group(cell, mary, "web")
        attach = Devices(cell).attach_device
        with pytest.raises(GroupNotFound):
            await attach(admin, self.HOST, "veth1", self.MAC, self.ADDRESSES, [web, classic])
        with pytest.raises(ParameterMissing):
            await attach(admin, self.HOST, "veth1", self.MAC, self.ADDRESSES, [])
        with pytest.raises(AdminOnly):
            await attach(vera, self.HOST, "veth1", self.MAC, self.ADDRESSES, [web])
        with pytest.raises(ResourceNotFound):
            await Devices(cell).detach_device(admin, "veth1")

    async def test_an_instances_interface_is_no_device_to_let_go_of(
        self, cell: Cell, admin: Caller, one: NetworkInterface
    ) -> None:
        with pytest.raises(ResourceNotFound):
            await Devices(cell).detach_device(admin, one.id)
