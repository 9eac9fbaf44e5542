from ipaddress import IPv4Address

import pytest

from stockade.instances.network.names import Names

NAMES = Names()
ADDRESS = IPv4Address("198.18.0.4")


def test_the_first_region_is_spelled_compute_1() -> None:
    assert NAMES.public(ADDRESS) == "ec2-198-18-0-4.compute-1.stockade.internal"


def test_other_regions_spell_themselves_out() -> None:
    assert NAMES.public(ADDRESS, "eu-west-1") == "ec2-198-18-0-4.eu-west-1.compute.stockade.internal"


def test_a_private_name_names_no_region() -> None:
    assert NAMES.private(IPv4Address("10.0.0.4")) == "ip-10-0-0-4.stockade.internal"


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_public_name_leads_back_to_its_address(region: str) -> None:
    assert NAMES.parse_public(NAMES.public(ADDRESS, region)) == ADDRESS


def test_names_are_read_in_any_case_and_with_a_closing_dot() -> None:
    assert NAMES.parse_private("IP-10-0-0-4.Stockade.INTERNAL.") == IPv4Address("10.0.0.4")


@pytest.mark.parametrize(
    "name",
    [
        "ec2-198-18-0-256.compute-1.stockade.internal",
        "ec2-198-18-0-04.compute-1.stockade.internal",
        "ec2-198-18-0.compute-1.stockade.internal",
        "ec2-198-18-0-4.stockade.internal",
        "ec2-198-18-0-4.compute-1.example.org",
        "xec2-198-18-0-4.compute-1.stockade.internal",
        "stockade.internal",
        "",
    ],
)
def test_what_is_spelled_otherwise_is_no_instance(name: str) -> None:
    assert NAMES.parse_public(name) is None


def test_a_suffix_is_owned_whole_or_not_at_all() -> None:
    assert NAMES.owns("a.stockade.internal")
    assert NAMES.owns("stockade.internal.")
    assert not NAMES.owns("notstockade.internal")
