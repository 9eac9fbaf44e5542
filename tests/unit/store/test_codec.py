"""What is stored is read back equal, and what cannot be read says so."""

import string
from datetime import UTC
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.model import keys, plain
from stockade.model.account import AccessKey, Account, KeyPair, Platform
from stockade.model.addresses import mac_of
from stockade.model.ids import AccountId, RuleId, SecurityGroupId, VpcId
from stockade.model.image import Image
from stockade.model.instance import Instance, InstanceStatus, Observed, Wanted
from stockade.model.network_interface import NetworkInterface
from stockade.model.prefix_list import ListEntry, PrefixList, PrefixListVersion
from stockade.model.resources import KINDS, Document, key_of
from stockade.model.rule import CidrPeer, Direction, GroupPeer, PrefixListPeer, Rule
from stockade.model.security_group import SecurityGroup
from stockade.model.tag import TagSet
from stockade.model.tracking import ConnectionTracking
from stockade.model.vpc import Subnet, Vpc
from stockade.store.codec import DocumentUnreadable, decode, encode

text = st.text(max_size=20)
word = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12)
number = st.integers(0, 1 << 24)
v4 = st.ip_addresses(v=4)
v4_networks = st.builds(lambda a, n: IPv4Network((a, n), strict=False), v4, st.integers(0, 32))
networks = v4_networks | st.builds(
    lambda a, n: IPv6Network((a, n), strict=False), st.ip_addresses(v=6), st.integers(0, 128)
)
peers = st.builds(CidrPeer, networks) | st.builds(GroupPeer, word, word) | st.builds(PrefixListPeer, word)
v6_networks = networks.filter(lambda block: block.version == 6)
entries = st.lists(st.builds(ListEntry, networks, st.none() | text), max_size=3).map(tuple)
port = st.none() | st.integers(-1, 65535)
rules = st.builds(
    Rule, word, number, st.sampled_from(Direction), st.integers(-1, 255), port, port, peers, st.none() | text
)
times = st.datetimes(timezones=st.just(UTC))
documents: st.SearchStrategy[Document] = st.one_of(
    st.builds(Account, word, text, st.sampled_from(Platform), st.none() | text, st.booleans(), st.booleans()),
    st.builds(AccessKey, word, word, text),
    st.builds(KeyPair, word, word, word, text, text, text),
    st.builds(Vpc, word, number, st.none() | word, word, v4_networks, st.booleans(), st.none() | v6_networks),
    st.builds(Subnet, word, word, st.none() | word, word, v4_networks, st.booleans(), st.none() | v6_networks),
    st.builds(SecurityGroup, word, word, word, text, text, st.lists(rules, max_size=5).map(tuple)),
    st.builds(
        NetworkInterface,
        *(word, number, word, word, st.none() | word, word, st.builds(mac_of, number)),
        st.lists(v4 | st.ip_addresses(v=6), max_size=3).map(tuple),
        st.lists(word, max_size=3).map(tuple),
        st.none() | v4,
        st.booleans(),
        st.none() | word,
        st.none() | text,
        st.builds(ConnectionTracking, number, number, number),
        number,
    ),
    st.builds(
        Instance,
        *(word, word, word, word, word, word, word, word, word, st.none() | text, st.none() | text),
        st.none() | st.binary(max_size=50),
        number,
        times,
        word,
        st.sampled_from(Wanted),
        st.none() | times,
        st.none() | text,
        st.lists(st.tuples(word, text), max_size=3).map(tuple),
    ),
    st.builds(InstanceStatus, word, st.sampled_from(Observed), st.none() | text),
    st.builds(Image, word, word, text, text, word, text, st.booleans(), word),
    st.builds(TagSet, word, word, st.dictionaries(text, text, max_size=3)),
    st.builds(PrefixList, word, word, word, text, st.sampled_from((4, 6)), number, number, entries),
    st.builds(PrefixListVersion, word, number, entries),
)


@given(documents)
def test_every_document_comes_back_equal(document: Document) -> None:
    key = key_of(document)
    assert key.isascii() and key.startswith(keys.PREFIX)
    assert decode(key, encode(key, document)) == document


@given(word, text)
def test_a_claim_comes_back_equal(name: str, value: str) -> None:
    key = keys.document("uniq", name)
    assert decode(key, encode(key, value)) == value


def test_a_document_is_plain_json_that_a_person_can_read() -> None:
    rule = Rule(RuleId("sgr-1"), 7, Direction.INGRESS, 6, 22, 22, CidrPeer(IPv4Network("10.0.0.0/8")))
    group = SecurityGroup(SecurityGroupId("sg-1"), AccountId("1"), VpcId("vpc-1"), "web", "d", (rule,))
    assert msgspec.json.decode(encode(key_of(group), group)) == {
        "v": 1,
        "id": "sg-1",
        "account": "1",
        "vpc": "vpc-1",
        "name": "web",
        "description": "d",
        "rules": [
            {
                "id": "sgr-1",
                "number": 7,
                "direction": "ingress",
                "protocol": 6,
                "from_port": 22,
                "to_port": 22,
                "peer": {"kind": "cidr_peer", "cidr": "10.0.0.0/8"},
            }
        ],
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":2}',
        b'{"v":1}',
        b'{"v":1,"id":"sg-1","account":"1","vpc":"v","name":"n","description":"d","rules":[{}]}',
    ],
)
def test_what_is_no_group_is_said_with_its_key(data: bytes) -> None:
    key = keys.document("sg", "sg-1")
    with pytest.raises(DocumentUnreadable) as caught:
        decode(key, data)
    assert caught.value.key == key


def test_a_field_that_a_later_release_added_is_passed_over() -> None:
    vpc = Vpc(VpcId("vpc-1"), 1, None, "us-east-1", IPv4Network("10.0.0.0/8"))
    document = msgspec.json.decode(encode(key_of(vpc), vpc)) | {"colour": "red"}
    assert decode(key_of(vpc), msgspec.json.encode(document)) == vpc


def test_a_value_of_the_wrong_type_is_not_written() -> None:
    with pytest.raises(plain.PlainMalformed):
        plain.to_plain(IPv4Address("10.0.0.1"), Vpc)


def test_every_kind_of_document_has_a_key_of_its_kind() -> None:
    status = InstanceStatus("i-1", Observed.RUNNING)  # type: ignore[arg-type]
    assert keys.kind_of(key_of(status)) == "seen"
    assert len(set(KINDS.values())) == len(KINDS)
