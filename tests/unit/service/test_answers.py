"""Questions in a caller's words: who may be named, who may be asked about, and what would help."""

from dataclasses import replace

import pytest

from stockade.model.addresses import parse_cidr
from stockade.model.errors import ParameterInvalid, ParametersConflict
from stockade.model.rule import CidrPeer, Direction, GroupPeer
from stockade.model.traffic import parse_traffic
from stockade.service.answers import Answer, Answers
from stockade.service.caller import Caller
from stockade.service.cell import Cell
from stockade.service.instances import Instances, LaunchRequest
from stockade.service.rules import RuleRequest, Rules
from stockade.service.security_groups import GroupRef, SecurityGroups
from stockade.service.tags import Tags

MICRO = "ami-eca54085"
IN = Direction.INGRESS


async def launch(cell: Cell, caller: Caller, group: str, name: str) -> str:
    made = await Instances(cell).run(caller, LaunchRequest(MICRO, groups=(GroupRef(name=group),)))
    id = made.instances[0].instance.id
    await Tags(cell).create(caller, [id], {"Name": name})
    return id


@pytest.fixture
async def office(cell: Cell, vera: Caller) -> dict[str, str]:
    """web lets the world in on port 80, app lets web in on 8080; an instance in each."""
    for name in ("web", "app", "empty"):
        await SecurityGroups(cell).create(vera, name, "a group")
    everywhere = RuleRequest(6, 80, 80, parse_cidr("0.0.0.0/0"))
    await Rules(cell).authorize(vera, GroupRef(name="web"), IN, [everywhere])
    await Rules(cell).authorize(vera, GroupRef(name="app"), IN, [RuleRequest(6, 8080, 8080, GroupRef(name="web"))])
    return {name: await launch(cell, vera, name, f"{name}1") for name in ("web", "app")}


async def explain(cell: Cell, caller: Caller, source: str, destination: str, traffic: str) -> Answer:
    return await Answers(cell).explain(caller, source, destination, parse_traffic(traffic))


async def test_instances_are_named_by_tag_id_start_of_id_and_address(
    cell: Cell, vera: Caller, office: dict[str, str]
) -> None:
    interface = cell.resources.interfaces[cell.resources.instances[office["app"]].interface]  # type: ignore[index]
    for name in ("app1", office["app"], str(interface.addresses[0]), interface.id):
        assert (await explain(cell, vera, "web1", name, "tcp/8080")).reach.all_pass
        assert (await explain(cell, vera, "web1", name, "tcp/22")).reach.none_pass


async def test_the_world_reaches_a_public_address(cell: Cell, vera: Caller, office: dict[str, str]) -> None:
    assert (await explain(cell, vera, "0.0.0.0/0", "web1", "tcp/80")).reach.all_pass
    assert (await explain(cell, vera, "203.0.113.9", "web", "tcp/80")).reach.all_pass
    assert (await explain(cell, vera, "0.0.0.0/0", "app", "all")).reach.none_pass


async def test_a_group_without_members_has_an_imagined_one(cell: Cell, vera: Caller, office: dict[str, str]) -> None:
    answer = await explain(cell, vera, "web", "empty", "tcp/80")
    assert answer.reach.none_pass
    assert len(answer.reach.tried) == 1
    assert (await explain(cell, vera, "empty", "web", "tcp/80")).reach.all_pass


async def test_the_remedy_names_the_closed_group_and_the_telling_peer(
    cell: Cell, vera: Caller, office: dict[str, str]
) -> None:
    groups = {group.name: group.id for group in await SecurityGroups(cell).describe(vera)}
    remedy = (await explain(cell, vera, "web1", "app1", "tcp/22")).remedy
    assert remedy is not None
    assert (remedy.group, remedy.peer, remedy.direction) == (
        groups["app"],
        GroupPeer(groups["web"], vera.account.id),
        IN,
    )
    remedy = (await explain(cell, vera, "198.51.100.0/24", "web1", "tcp/22")).remedy
    assert remedy is not None
    assert (remedy.group, remedy.peer) == (groups["web"], CidrPeer(parse_cidr("198.51.100.0/24")))


async def test_what_the_remedy_says_opens_the_gate(cell: Cell, vera: Caller, office: dict[str, str]) -> None:
    remedy = (await explain(cell, vera, "app1", "web1", "tcp/443")).remedy
    assert remedy is not None and isinstance(remedy.peer, GroupPeer)
    request = RuleRequest(6, remedy.traffic.low, remedy.traffic.high, GroupRef(id=remedy.peer.group))
    await Rules(cell).authorize(vera, GroupRef(id=remedy.group), remedy.direction, [request])
    assert (await explain(cell, vera, "app1", "web1", "tcp/443")).reach.all_pass


async def test_an_ambiguous_name_lists_what_it_may_be(cell: Cell, vera: Caller, office: dict[str, str]) -> None:
    other = await launch(cell, vera, "web", "web1")
    with pytest.raises(ParameterInvalid) as caught:
        await explain(cell, vera, "web1", "app1", "tcp/8080")
    assert other in caught.value.why and office["web"] in caught.value.why
    with pytest.raises(ParameterInvalid):
        await explain(cell, vera, "i-0", "app1", "tcp/8080")


async def test_nobody_may_name_or_ask_about_what_is_anothers(
    cell: Cell, vera: Caller, albert: Caller, mary: Caller, office: dict[str, str]
) -> None:
    with pytest.raises(ParameterInvalid):
        await explain(cell, albert, "web1", "app1", "tcp/8080")
    interface = cell.resources.interfaces[cell.resources.instances[office["web"]].interface]  # type: ignore[index]
    with pytest.raises(ParametersConflict):
        await explain(cell, albert, "0.0.0.0/0", str(interface.public), "tcp/80")
    await launch(cell, albert, "default", "mine")
    assert (await explain(cell, albert, "mine", str(interface.public), "tcp/80")).reach.all_pass
    with pytest.raises(ParameterInvalid):
        await explain(cell, albert, str(interface.public), "mine", "tcp/80")


async def test_an_administrator_may_name_everything(cell: Cell, vera: Caller, office: dict[str, str]) -> None:
    admin = replace(vera, account=replace(vera.account, id="999999999999", is_admin=True))  # type: ignore[arg-type]
    assert (await explain(cell, admin, "web1", "app1", "tcp/8080")).reach.all_pass


async def test_too_large_a_question_is_refused(
    cell: Cell, vera: Caller, office: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stockade.service.answers.MOST_PAIRS", 0)
    with pytest.raises(ParametersConflict):
        await explain(cell, vera, "web1", "app1", "tcp/8080")
