"""Blocks in canonical form, addresses in blocks, MACs by number."""

from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from stockade.model.addresses import covers, mac_of, parse_cidr
from stockade.model.errors import CidrMalformed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("100.68.0.18/18", "100.68.0.0/18"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.168.1.130/32", "192.168.1.130/32"),
        ("255.255.255.255/0", "0.0.0.0/0"),
        ("2001:DB8::1/64", "2001:db8::/64"),
        ("::/0", "::/0"),
    ],
)
def test_a_block_is_kept_without_host_bits(text: str, kept: str) -> None:
    assert str(parse_cidr(text)) == kept


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "0.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8", "10.0.0.256/8"),
        *("::/129", "10.0.0.0/255.0.0.0", "10.0.0.0/8 ", " 10.0.0.0/8", "010.0.0.0/8", "10.0.0.0/٨", "any/0"),
        *("fe80::1%eth0/64", "2001:db8::%1/32"),
    ],
)
def test_what_is_not_a_block_is_refused_by_name(text: str) -> None:
    with pytest.raises(CidrMalformed) as refused:
        parse_cidr(text)
    assert refused.value.text == text


def test_a_block_of_one_family_never_covers_an_address_of_the_other() -> None:
    assert not covers(ip_network("0.0.0.0/0"), ip_address("::1"))
    assert not covers(ip_network("::/0"), ip_address("10.0.0.1"))


def test_a_block_covers_its_first_and_last_address() -> None:
    block = IPv4Network("10.0.0.0/30")
    assert [covers(block, ip_address(f"10.0.0.{n}")) for n in range(5)] == [True, True, True, True, False]


def test_macs_are_local_unicast_and_differ_by_number() -> None:
    made = [mac_of(number) for number in (1, 2, 255, 256, 2**32 - 1)]
    assert made[0] == "02:5c:00:00:00:01"
    assert len(set(made)) == len(made)
    assert all(int(mac[:2], 16) & 3 == 2 for mac in made)
