"""Launches, their limits, and the end of instances."""

import asyncio
from ipaddress import IPv4Network

import pytest

from stockade.model.errors import (
    AddressesExhausted,
    ImageNotFound,
    InstanceNotFound,
    KeyPairNotFound,
    ParametersConflict,
    QuotaExceeded,
    TokenReused,
    ZoneNotFound,
)
from stockade.model.instance import InstanceState, InstanceStatus, Observed
from stockade.model.resources import put
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings, Quotas
from stockade.service.instances import Instances, LaunchRequest, Reservation
from stockade.service.key_pairs import KeyPairs
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.tags import Tags
from stockade.service.upkeep import Upkeep

MICRO = "ami-eca54085"


async def report(cell: Cell, reservation: Reservation, observed: Observed) -> None:
    """The host says so of all instances of a reservation."""
    found = [put(InstanceStatus(each.instance.id, observed)) for each in reservation.instances]
    await cell.ledger.commit([], found)


async def test_a_classic_launch_joins_default_and_shows_no_names_until_it_runs(cell: Cell, albert: Caller) -> None:
    instances = Instances(cell)
    made = await instances.run(albert, LaunchRequest(MICRO))
    (pending,) = made.instances
    assert [group.name for group in made.groups] == ["default"]
    assert (pending.state, pending.public_name, pending.private_name) == (InstanceState.PENDING, "", "")
    await report(cell, made, Observed.RUNNING)
    ((running,),) = [r.instances for r in await instances.describe(albert, [pending.instance.id])]
    assert running.state is InstanceState.RUNNING
    assert running.public_name == "ec2-198-18-0-4.compute-1.stockade.internal"
    assert running.private_name == "ip-10-0-0-4.stockade.internal"
    assert running.vpc is not None and running.vpc.is_classic


async def test_twenty_instances_are_one_transaction_with_indexes_and_addresses(cell: Cell, albert: Caller) -> None:
    await cell.numbers.stock({"interface": 40})
    before = cell.resources.revision
    made = await Instances(cell).run(albert, LaunchRequest(MICRO, 20, 20))
    assert cell.resources.revision == before + 1
    assert [each.instance.launch_index for each in made.instances] == list(range(20))
    interfaces = [each.interface for each in made.instances if each.interface]
    assert len({i.addresses for i in interfaces}) == len({i.public for i in interfaces}) == 20
    assert len({i.mac for i in interfaces}) == len({i.number for i in interfaces}) == 20


async def test_a_vpc_launch_lands_in_a_default_subnet_with_a_public_address(cell: Cell, vera: Caller) -> None:
    made = await Instances(cell).run(vera, LaunchRequest(MICRO, zone="us-east-1b"))
    interface = made.instances[0].interface
    assert interface is not None and interface.public is not None and interface.subnet is not None
    assert made.instances[0].instance.zone == cell.resources.subnets[interface.subnet].zone == "us-east-1b"
    assert interface.addresses[0] in IPv4Network("172.31.16.0/20")


async def test_the_same_client_token_launches_once(cell: Cell, vera: Caller) -> None:
    request = LaunchRequest(MICRO, 2, 2, client_token="once")
    both = await asyncio.gather(*(Instances(cell).run(vera, request) for _ in range(2)))
    assert both[0] == both[1]
    assert len(await Instances(cell).describe(vera)) == 1
    with pytest.raises(TokenReused):
        await Instances(cell).run(vera, LaunchRequest("ami-fba54092", client_token="once"))


async def test_the_default_key_of_the_account_is_used_when_none_is_named(cell: Cell) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl someone"
    created = await Accounts(cell).create("keyed", public_key=key)
    caller = Caller(created.account, "us-east-1")
    (each,) = (await Instances(cell).run(caller, LaunchRequest(MICRO))).instances
    assert each.instance.key_name == "default"
    assert each.instance.public_key is not None and each.instance.public_key.startswith("ssh-ed25519 AAAAC3")
    with pytest.raises(KeyPairNotFound):
        await Instances(cell).run(caller, LaunchRequest(MICRO, key_name="nosuch"))
    await KeyPairs(cell).delete(caller, "default")
    (each,) = (await Instances(cell).run(caller, LaunchRequest(MICRO))).instances
    assert each.instance.key_name is None


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (LaunchRequest("ami-00000000"), ImageNotFound),
        (LaunchRequest(MICRO, 3, 2), ParametersConflict),
        (LaunchRequest(MICRO, zone="mars-1a"), ZoneNotFound),
    ],
)
async def test_bad_launches_leave_nothing(
    cell: Cell, albert: Caller, request_: LaunchRequest, error: type[Exception]
) -> None:
    before = cell.resources.revision
    with pytest.raises(error):
        await Instances(cell).run(albert, request_)
    assert await Instances(cell).describe(albert) == []
    assert cell.resources.interfaces == {}
    assert cell.resources.revision <= before + 1  # a block of numbers at most


async def test_a_vpc_interface_has_at_most_five_groups_and_a_classic_one_any_number(
    cell: Cell, albert: Caller, vera: Caller
) -> None:
    for caller in (albert, vera):
        for n in range(6):
            await SecurityGroups(cell).create(caller, f"g{n}", "d")
    six = tuple(GroupRef(name=f"g{n}") for n in range(6))
    made = await Instances(cell).run(albert, LaunchRequest(MICRO, groups=six))
    assert len(made.groups) == 6
    with pytest.raises(QuotaExceeded):
        await Instances(cell).run(vera, LaunchRequest(MICRO, groups=six))
    await Instances(cell).run(vera, LaunchRequest(MICRO, groups=six[:5]))


async def test_another_accounts_instance_is_not_found(cell: Cell, albert: Caller, mary: Caller) -> None:
    (each,) = (await Instances(cell).run(albert, LaunchRequest(MICRO))).instances
    for call in (Instances(cell).describe, Instances(cell).terminate):
        with pytest.raises(InstanceNotFound):
            await call(mary, [each.instance.id])


async def test_termination_goes_through_shutting_down_and_gives_everything_back(cell: Cell, albert: Caller) -> None:
    instances, upkeep = Instances(cell), Upkeep(cell)
    made = await instances.run(albert, LaunchRequest(MICRO, tags={"Name": "one"}))
    await report(cell, made, Observed.RUNNING)
    id = made.instances[0].instance.id
    (change,) = await instances.terminate(albert, [id])
    assert (change.previous, change.current) == (InstanceState.RUNNING, InstanceState.SHUTTING_DOWN)
    await upkeep.start()
    await report(cell, made, Observed.GONE)
    while cell.resources.interfaces:
        await asyncio.sleep(0)
    await upkeep.close()
    ((after,),) = [r.instances for r in await instances.describe(albert, [id])]
    assert (after.state, after.interface, after.public_name) == (InstanceState.TERMINATED, None, "")
    assert [group.name for group in after.groups] == ["default"]
    assert after.tags == {"Name": "one"}
    assert [key for key in cell.resources.claims if "/ip/" in key or "/public/" in key or "/mem/" in key] == []
    (again,) = await instances.terminate(albert, [id])
    assert (again.previous, again.current) == (InstanceState.TERMINATED, InstanceState.TERMINATED)


async def test_an_address_that_was_given_back_is_not_the_next_one_given_out(cell: Cell, albert: Caller) -> None:
    instances, upkeep = Instances(cell), Upkeep(cell)
    made = await instances.run(albert, LaunchRequest(MICRO))
    await report(cell, made, Observed.GONE)
    await upkeep.reap([made.instances[0].instance.id])
    again = await instances.run(albert, LaunchRequest(MICRO))
    first, second = made.instances[0].interface, again.instances[0].interface
    assert first is not None and second is not None
    assert first.addresses != second.addresses and first.public != second.public and first.number != second.number


async def test_tags_of_a_launch_are_on_every_instance(cell: Cell, vera: Caller) -> None:
    made = await Instances(cell).run(vera, LaunchRequest(MICRO, 2, 2, tags={"Name": "web"}))
    assert all(each.tags == {"Name": "web"} for each in made.instances)
    assert [tag.kind for tag in await Tags(cell).describe(vera)] == ["instance", "instance"]


class TestLimits:
    @pytest.fixture
    def settings(self) -> CellSettings:
        return CellSettings(quotas=Quotas(instances=3), public_pool=IPv4Network("198.18.0.0/29"))

    async def test_a_launch_takes_what_the_quota_leaves_if_that_is_enough(self, cell: Cell, albert: Caller) -> None:
        made = await Instances(cell).run(albert, LaunchRequest(MICRO, 1, 10))
        assert len(made.instances) == 3
        with pytest.raises(QuotaExceeded):
            await Instances(cell).run(albert, LaunchRequest(MICRO))

    async def test_launches_at_once_do_not_pass_the_quota_together(self, cell: Cell, albert: Caller) -> None:
        tries = (Instances(cell).run(albert, LaunchRequest(MICRO)) for _ in range(6))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 3

    async def test_a_pool_without_addresses_is_said_by_name(self, cell: Cell, albert: Caller, mary: Caller) -> None:
        await Instances(cell).run(albert, LaunchRequest(MICRO, 3, 3))
        with pytest.raises(AddressesExhausted) as caught:
            await Instances(cell).run(mary, LaunchRequest(MICRO))
        assert caught.value.pool == "198.18.0.0/29"
