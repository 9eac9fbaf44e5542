"""Records against what a story says, and nmap's report read into values."""

import pytest

from stockade.daemon.demo.expectation import Unbound, bind_names, compare, fill
from stockade.daemon.demo.probes import Scanned, checksum, read_scan, syn
from stockade.daemon.demo.script import Way, ways

LAUNCHED = (
    "RESERVATION\tr-1a2b3c4d\t598916040194\tdefault\n"
    "INSTANCE\ti-cfd732a6\tami-eca54085\t\t\tpending\t\t0\t\tm1.small\t2008-02-11T13:02:12+0000\tus-east-1c\n"
)
EXPECTED = (
    "RESERVATION | {RES1} | {ACCT} | default",
    "INSTANCE | {I1} | ami-eca54085 | ∅ | ∅ | pending | ∅ | 0 | ∅ | m1.small | {T} | {ZONE}",
)


def test_matching_records_bind_their_variables() -> None:
    variables = {"ACCT": "598916040194"}
    assert compare(EXPECTED, LAUNCHED, variables) == ""
    assert variables == {"ACCT": "598916040194", "RES1": "r-1a2b3c4d", "I1": "i-cfd732a6"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\t\t\tpending", "\tpending", "10 fields instead of 12"),
        ("\tdefault\n", "\tapache\n", "'apache' instead of 'default'"),
        ("598916040194", "111111111111", "'111111111111' instead of '598916040194'"),
        ("i-cfd732a6", "i-cfd7", "'i-cfd7' instead of '{I1}'"),
        ("+0000", "Z", "instead of '{T}'"),
        ("us-east-1c\n", "us-east-1c\nINSTANCE\n", "3 lines instead of 2"),
    ],
)
def test_any_other_record_is_a_difference(old: str, new: str, said: str) -> None:
    assert said in compare(EXPECTED, LAUNCHED.replace(old, new), {"ACCT": "598916040194"})


def test_two_instances_may_not_have_one_id() -> None:
    printed = "i-cfd732a6\ni-cfd732a6\n"
    assert compare(("{W1}", "{W2}"), printed, {}) != ""


def test_a_bound_variable_inside_a_field_is_filled_in() -> None:
    assert compare(("a-{ACCT}",), "a-598916040194\n", {"ACCT": "598916040194"}) == ""


def test_an_unbound_variable_names_itself() -> None:
    with pytest.raises(Unbound, match="DNSW1"):
        fill("telnet {DNSW1} 80", {})


def test_names_spell_their_addresses() -> None:
    variables: dict[str, str] = {}
    bind_names("W1", "ec2-198-18-0-11.compute-1.stockade.internal", "ip-10-0-0-11.stockade.internal", variables)
    assert (variables["IPW1"], variables["PIPW1"]) == ("198.18.0.11", "10.0.0.11")


def test_ways_are_read_as_written() -> None:
    assert ways("W1 > APP1 tcp/8080 open", "W1 > public APP1 icmp filtered").ways == (
        Way("W1", "APP1", "tcp/8080", "open"),
        Way("W1", "APP1", "icmp", "filtered", public=True),
    )


ONE_OPEN_NOW = """\
Nmap scan report for ec2-198-18-0-11.compute-1.stockade.internal (198.18.0.11)
Host is up (0.00012s latency).
Not shown: 99 filtered tcp ports (no-response)
PORT   STATE SERVICE
22/tcp open  ssh
"""
ALL_FILTERED_NOW = """\
All 100 scanned ports on ec2-198-18-0-11.compute-1.stockade.internal (198.18.0.11) are in ignored states.
Not shown: 100 filtered tcp ports (no-response)
"""
ONE_OPEN_THEN = "(The 99 ports scanned but not shown are in state: filtered)\nPORT   STATE SERVICE\n22/tcp open  ssh\n"
ALL_FILTERED_THEN = "All 100 scanned ports on ec2-67-202-51-35.compute-1.example (67.202.51.35) are: filtered\n"
SOME_CLOSED = """\
Not shown: 98 filtered tcp ports (no-response)
PORT   STATE  SERVICE
22/tcp closed ssh
80/tcp open   http
"""
TWO_STATES = (
    "Not shown: 97 filtered tcp ports (no-response), 2 closed tcp ports (reset)\nPORT STATE SERVICE\n80/tcp open http\n"
)


@pytest.mark.parametrize(
    ("report", "scanned"),
    [
        (ONE_OPEN_NOW, Scanned(("22/tcp ssh",), {"filtered": 99})),
        (ONE_OPEN_THEN, Scanned(("22/tcp ssh",), {"filtered": 99})),
        (ALL_FILTERED_NOW, Scanned((), {"filtered": 100})),
        (ALL_FILTERED_THEN, Scanned((), {"filtered": 100})),
        (SOME_CLOSED, Scanned(("80/tcp http",), {"closed": 1, "filtered": 98})),
        (TWO_STATES, Scanned(("80/tcp http",), {"filtered": 97, "closed": 2})),
        ("PORT     STATE    SERVICE\n8080/tcp filtered http-proxy\n", Scanned((), {"filtered": 1})),
        ("Failed to resolve", Scanned((), {})),
    ],
)
def test_scan_reports_of_both_ages(report: str, scanned: Scanned) -> None:
    assert read_scan(report) == scanned


def test_a_false_syn_has_true_checksums() -> None:
    packet = syn("10.0.0.31", "10.0.0.41", 40000, 3306)
    assert checksum(packet[:20]) == 0
    pseudo = packet[12:20] + b"\x00\x06" + len(packet[20:]).to_bytes(2, "big")
    assert checksum(pseudo + packet[20:]) == 0
