"""The view kept transaction by transaction is the view computed at once."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from stockade.feed.views import HostItems, touched, view_of
from stockade.model.addresses import EVERYWHERE_V4, mac_of
from stockade.model.change import Revision
from stockade.model.host_view import (
    CLASSIC_RESOLVER,
    Frame,
    HostView,
    ViewGroup,
    ViewInterface,
    ViewMember,
    ViewPrefixList,
    apply_frame,
    key_of,
)
from stockade.model.ids import (
    AccountId,
    HostId,
    ImageId,
    InstanceId,
    NetworkInterfaceId,
    PrefixListId,
    ReservationId,
    RuleId,
    SecurityGroupId,
    SubnetId,
    VpcId,
)
from stockade.model.instance import Instance, InstanceStatus, Observed, Wanted
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import ListEntry, PrefixList
from stockade.model.resources import Change, Document, Resources, drop, put
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.tracking import ConnectionTracking
from stockade.model.vpc import Subnet, Vpc

HERE, THERE = HostId("here"), HostId("there")
ACCOUNT = AccountId("111111111111")
NOW = datetime(2007, 8, 29, tzinfo=UTC)
small = st.integers(0, 3)


BLOCK6 = IPv6Network("fd5c:ec2:0:100::/56")


def rule(number: int) -> Rule:
    """To everybody, to a group or to a prefix list."""
    named: tuple[Peer, ...] = (
        CidrPeer(EVERYWHERE_V4),
        GroupPeer(SecurityGroupId(f"sg-{number % 4}"), ACCOUNT),
        PrefixListPeer(PrefixListId(f"pl-{number % 4}")),
    )
    return Rule(
        RuleId(f"sgr-{number}"), number, Direction.INGRESS, 6, number, number, named[number % 3], f"rule {number}"
    )


def vpc(n: int, six: bool = False) -> Vpc:
    owner, block = None if n == 0 else ACCOUNT, BLOCK6 if six else None
    return Vpc(VpcId(f"vpc-{n}"), n + 1, owner, "us-east-1", IPv4Network("10.0.0.0/8"), ipv6=block)


def prefix_list(n: int, blocks: list[int]) -> PrefixList:
    entries = tuple(ListEntry(IPv4Network((0x0A000000 + (block << 8), 24)), "d") for block in blocks)
    return PrefixList(PrefixListId(f"pl-{n}"), ACCOUNT, "us-east-1", "list", 4, 10, 1, entries)


def subnet(n: int, wide: bool) -> Subnet:
    return Subnet(
        SubnetId(f"subnet-{n}"), vpc(n).id, ACCOUNT, "a", IPv4Network("10.0.0.0/16" if wide else "10.0.0.0/20")
    )


def group(n: int, name: str, rules: list[int]) -> SecurityGroup:
    each = tuple(rule(number) for number in rules)
    return SecurityGroup(SecurityGroupId(f"sg-{n}"), ACCOUNT, vpc(n % 2).id, name, "d", each)


def interface(
    n: int, host: HostId, groups: list[int], in_vpc: int, public: bool, cuts: int = 0, six: bool = False
) -> NetworkInterface:
    private = IPv4Address(0x0A000000 + n)
    return NetworkInterface(
        NetworkInterfaceId(f"eni-{n}"),
        n,
        ACCOUNT,
        vpc(in_vpc).id,
        subnet(in_vpc, True).id if in_vpc else None,
        host,
        mac_of(n),
        (private, IPv6Address(int(BLOCK6.network_address) + n)) if six else (private,),
        tuple(SecurityGroupId(f"sg-{g}") for g in groups),
        IPv4Address(0xC6120000 + n) if public else None,
        instance=InstanceId(f"i-{n}"),
        device="docker7" if cuts else None,
        tracking=ConnectionTracking(udp=30 + cuts),
        cuts=cuts,
    )


def instance(n: int, host: HostId, wanted: Wanted, ended: bool) -> Instance:
    return Instance(
        InstanceId(f"i-{n}"),
        ACCOUNT,
        ReservationId("r-1"),
        "us-east-1",
        "us-east-1a",
        host,
        ImageId("ami-1"),
        "micro",
        "m1.small",
        *(None, None, None),
        n,
        NOW,
        NetworkInterfaceId(f"eni-{n}"),
        wanted,
        NOW if ended else None,
    )


hosts = st.sampled_from([HERE, THERE])
sets = st.lists(small, max_size=3, unique=True)
rule_sets = st.lists(st.integers(0, 11), max_size=4, unique=True)
flags = st.booleans()
documents: st.SearchStrategy[Document] = st.one_of(
    st.builds(group, small, st.sampled_from(["web", "app"]), rule_sets),
    st.builds(prefix_list, small, sets),
    st.builds(interface, small, hosts, sets, st.integers(0, 1), flags, st.integers(0, 2), flags),
    st.builds(instance, small, hosts, st.sampled_from(Wanted), st.booleans()),
    st.builds(vpc, st.integers(0, 1), flags),
    st.builds(subnet, st.integers(0, 1), st.booleans()),
    st.builds(lambda n: TagSet(f"i-{n}", ACCOUNT, {"a": "b"}), small),
    st.builds(lambda n: InstanceStatus(InstanceId(f"i-{n}"), Observed.RUNNING), small),
)
changes: st.SearchStrategy[Change] = st.builds(lambda d, gone: drop(d) if gone else put(d), documents, st.booleans())
histories = st.lists(st.lists(changes, min_size=1, max_size=4), max_size=20)


@given(histories)
@effort(max_examples=300, deadline=None)
def test_the_kept_view_equals_the_computed_one_after_any_history(history: list[list[Change]]) -> None:
    resources = Resources()
    kept = HostItems(resources, HERE)
    agents = HostView(HERE)
    for number, transaction in enumerate(history, 1):
        edits = resources.apply(Revision(number), transaction)
        changed = kept.update(edits)
        whole = view_of(resources, HERE)
        assert kept.items == whole
        frame = Frame(
            Revision(number),
            tuple(item for item in changed.values() if item is not None),
            tuple(key for key, item in changed.items() if item is None),
        )
        agents = apply_frame(agents, frame)
        tables = (agents.groups, agents.members, agents.interfaces, agents.instances, agents.prefix_lists)
        assert {key_of(item): item for table in tables for item in table.values()} == whole


def world(*found: Document) -> Resources:
    resources = Resources()
    resources.apply(Revision(1), [put(document) for document in found])
    return resources


def test_a_host_learns_the_rules_of_its_own_groups_only_and_no_descriptions() -> None:
    resources = world(vpc(0), group(0, "web", [3]), group(1, "app", [6]), interface(0, HERE, [0], 0, True))
    groups = [item for item in view_of(resources, HERE).values() if isinstance(item, ViewGroup)]
    assert [item.id for item in groups] == ["sg-0"]
    assert [each.description for each in groups[0].rules] == [None]


def test_a_host_knows_members_of_its_networks_wherever_they_are_and_of_no_others() -> None:
    resources = world(
        *(vpc(0), vpc(1), group(0, "web", []), group(1, "app", [])),
        *(interface(0, HERE, [0], 0, True), interface(1, THERE, [1], 0, True), interface(2, THERE, [1], 1, True)),
    )
    members = [item for item in view_of(resources, HERE).values() if isinstance(item, ViewMember)]
    assert [(m.interface, m.host, m.groups) for m in members] == [
        ("eni-0", HERE, ("sg-0",)),
        ("eni-1", THERE, ("sg-1",)),
    ]


def test_an_edit_elsewhere_touches_nothing_here() -> None:
    resources = world(vpc(0), vpc(1), group(0, "web", []), interface(0, HERE, [0], 0, True))
    kept = HostItems(resources, HERE)
    elsewhere = [put(group(3, "far", [1])), put(interface(3, THERE, [3], 1, False))]
    assert kept.update(resources.apply(Revision(2), elsewhere)) == {}


def test_a_host_learns_the_newest_of_the_lists_that_its_own_rules_name() -> None:
    named, other = prefix_list(2, [1, 2]), prefix_list(3, [3])
    resources = world(
        vpc(0), group(0, "web", [2]), group(1, "app", [11]), named, other, interface(0, HERE, [0], 0, True)
    )
    kept = HostItems(resources, HERE)
    assert [item for item in kept.items.values() if isinstance(item, ViewPrefixList)] == [
        ViewPrefixList(named.id, named.cidrs)
    ]
    newer = prefix_list(2, [1])
    changed = kept.update(resources.apply(Revision(2), [put(newer)]))
    assert changed == {("prefix_list", "pl-2"): ViewPrefixList(newer.id, newer.cidrs)}
    assert kept.update(resources.apply(Revision(3), [put(group(0, "web", []))])) == {
        ("group", "sg-0"): ViewGroup(SecurityGroupId("sg-0"), "web", ()),
        ("prefix_list", "pl-2"): None,
    }


def test_an_interface_says_where_its_resolver_is_and_whether_outsiders_meet_its_ipv6() -> None:
    resources = world(
        *(vpc(0), vpc(1, six=True), subnet(1, True)),
        *(
            interface(0, HERE, [], 0, True),
            interface(1, HERE, [], 1, True, 2, six=True),
            interface(2, HERE, [], 1, True),
        ),
    )
    seen = {item.id: item for item in view_of(resources, HERE).values() if isinstance(item, ViewInterface)}
    classic, six, four = (seen[NetworkInterfaceId(f"eni-{n}")] for n in range(3))
    assert (classic.resolver, classic.public6) == (CLASSIC_RESOLVER, False)
    assert (six.resolver, six.public6, six.device, six.cuts, six.tracking.udp) == (
        IPv4Address("10.0.0.2"),
        True,
        "docker7",
        2,
        32,
    )
    assert (four.public6, four.device, four.cuts) == (False, None, 0)
    without = [put(vpc(1, six=False))]
    changed = HostItems(resources, HERE).update(resources.apply(Revision(2), without))
    assert [item.public6 for item in changed.values() if isinstance(item, ViewInterface)] == [False]


def test_a_rule_edit_looks_at_no_member() -> None:
    resources = world(vpc(0), group(0, "web", []), interface(0, HERE, [0], 0, True))
    (edit,) = resources.apply(Revision(2), [put(group(0, "web", [3]))])
    assert set(touched(resources, HERE, [edit])) == {("group", "sg-0")}
