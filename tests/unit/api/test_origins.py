"""Which requests may be looked at."""

import pytest

from stockade.api.origins import host_name, refusal

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost:8773", "localhost"),
        ("LocalHost.", "localhost"),
        ("[::1]:8773", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("ec2.eu-west-1.localhost:1", "ec2.eu-west-1.localhost"),
    ],
)
def test_a_host_is_a_name_without_port(authority: str, name: str) -> None:
    assert host_name(authority) == name
    assert refusal([("host", authority)], NONE, own_pages=False) is None


@pytest.mark.parametrize(
    "authority", ["evil.example", "127.0.0.1.evil.example", "notlocalhost", "192.168.1.5:8773", ""]
)
def test_other_names_are_refused(authority: str) -> None:
    assert refusal([("host", authority)], NONE, own_pages=False) is not None


def test_the_address_it_came_in_on_is_ours() -> None:
    assert refusal([("host", "192.168.1.5:8773")], NONE, False, "192.168.1.5") is None


def test_a_request_without_a_host_is_refused() -> None:
    assert refusal([], NONE, own_pages=False) is not None
