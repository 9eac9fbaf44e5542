"""What explain, test and group print for an answer, line by line."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from stockade.cli.stockade.annotations import annotation_lines, summary_of, tell
from stockade.cli.stockade.explain import explanation_lines, peer_text, probe_lines
from stockade.cli.stockade.group import rule_row
from stockade.cli.stockade.policy_tests import FileResults, junit_document

WEB = {"group_id": "sg-1", "group_name": "web"}


def rule(id: str, traffic: str, direction: str = "ingress", lacks: tuple[str, ...] = (), **peer: Any) -> dict[str, Any]:
    named = {"rule_id": id, **WEB, "direction": direction, "traffic": traffic, "peer": peer, "lacks": list(lacks)}
    return {**named, "description": None, "packets": 0, "bytes": 0, "first_hit": None, "last_hit": None}


def hop(gate: str, passed: bool, rules: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    reason = None if passed else f"NO_{gate.upper()}_RULE"
    interface = {
        "name": "web1",
        "groups": [WEB],
        "device": None,
        "source_dest_check": True,
        **more.pop("interface", {}),
    }
    return {"gate": gate, "passed": passed, "reason": reason, "rules": rules, "interface": interface, **more}


def answer(verdict: str, *hops: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "source": {"asked": "app1", "name": "app1", "address": "10.0.0.2"},
        "destination": {"asked": "web1", "name": "web1", "address": "10.0.0.1"},
        "traffic": "tcp/80",
        "verdict": verdict,
        "tried": 1,
        "passed": int(verdict == "pass"),
        "reason": None if verdict == "pass" else "NO_INGRESS_RULE",
        "aws_reason": None if verdict == "pass" else "ENI_SG_RULES_MISMATCH",
        "hops": list(hops),
        "to_allow": None,
        **more,
    }


TRACKING = {"tracked": True, "always": False, "opened_by": None, "all_back_by": "sgr-9"}


@pytest.mark.parametrize(
    ("tracking", "said"),
    [
        ({**TRACKING}, "tracked: no rule opens it to everybody; a revoke leaves it until it ends"),
        (
            {**TRACKING, "opened_by": "sgr-8", "all_back_by": None},
            "tracked: no one rule opens all ports back to everybody; a revoke leaves it until it ends",
        ),
        (
            {**TRACKING, "tracked": False, "opened_by": "sgr-8"},
            "untracked: sgr-8 opens it to everybody and sgr-9 all ports back: a revoke cuts it at once",
        ),
    ],
)
def test_a_gate_that_opens_says_whether_a_revoke_cuts(tracking: dict[str, Any], said: str) -> None:
    opened = hop("ingress", True, [rule("sgr-8", "tcp/80", cidr="0.0.0.0/0")], tracking=tracking)
    lines = explanation_lines(answer("pass", opened))
    assert lines[1].split() == ["✓", "enters", "web1", "sgr-8", "group", "web", "tcp/80", "from", "0.0.0.0/0"]
    assert lines[2].strip() == said
    always = hop("ingress", True, [rule("sgr-8", "icmp", cidr="0.0.0.0/0")], tracking={**TRACKING, "always": True})
    assert not any("tracked" in line for line in explanation_lines(answer("pass", always)))


def test_an_attached_device_and_a_switched_off_check_are_told() -> None:
    interface = {"device": "veth7", "source_dest_check": False}
    opened = hop("ingress", True, [rule("sgr-8", "tcp/80", cidr="::/0")], interface=interface)
    text = "\n".join(explanation_lines(answer("pass", opened), unicode=False))
    assert "filtered at the attached device veth7" in text and "source/destination check off" in text
    assert text.isascii()


def test_a_rule_names_its_peer_whatever_it_is() -> None:
    assert peer_text({"cidr": "2001:db8::/32"}) == "2001:db8::/32"
    assert peer_text({"prefix_list_id": "pl-1", "prefix_list_name": "partners"}) == "pl-1 (prefix list partners)"
    assert peer_text({"prefix_list_id": "pl-1", "prefix_list_name": None}) == "pl-1"
    assert peer_text({"group_id": "sg-1", "group_name": "web"}) == "sg-1 (group web)"


PACKET = {"source": "10.0.0.2", "destination": "10.0.0.1", "traffic": "tcp/80", "expected": "lost", "why": None}
PROBE: dict[str, Any] = {"agrees": True, "sent": 2, "arrived": 1, "left_out": 0, "undecided": None, "packets": []}


def test_packets_that_do_otherwise_are_listed_with_what_both_said() -> None:
    assert probe_lines(PROBE) == ["Probe: 2 packets sent, 1 arrived, as the rules say"]
    nothing = {**PROBE, "agrees": None, "sent": 0, "arrived": 0, "undecided": "the sender is imagined"}
    assert probe_lines(nothing) == ["Probe: no packet sent: the sender is imagined"]
    waiting = {**PROBE, "agrees": None, "undecided": "somebody else forwards"}
    assert probe_lines(waiting) == ["Probe: 2 packets sent, 1 arrived, which decides nothing: somebody else forwards"]
    packets = [{**PACKET, "outcome": "arrived", "agrees": False}, {**PACKET, "outcome": "lost", "agrees": True}]
    differs = {**PROBE, "agrees": False, "packets": packets}
    head, line = probe_lines(differs, unicode=False)
    assert "the kernel does otherwise than the rules say" in head
    assert line == "  tcp/80 10.0.0.2 -> 10.0.0.1: the rules say lost, the kernel arrived"


def results(path: Path) -> list[FileResults]:
    closed = answer("blocked", hop("ingress", False, [rule("sgr-8", "tcp/22", lacks=("port",), cidr="0.0.0.0/0")]))
    expected = {"test": "web: public, 100%", "expected": "accept", "source": "world", "destination": "web"}
    failed = {**expected, "traffic": "tcp/80", "ok": False, "verdict": "blocked", "probe": None, "answer": closed}
    return [FileResults(path, [failed, {**failed, "traffic": "tcp/22", "ok": True, "answer": None}])]


def test_a_failure_is_annotated_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "policy.stockade.yaml"
    path.write_text("version: 1\ntests:\n  - name: 'web: public, 100%'\n    from: world\n    accept: ['web:tcp/80']\n")
    [line] = annotation_lines(results(path))
    head, _, text = line.removeprefix("::").partition("::")
    assert head == f"error file={path},line=5,title=web%3A public%2C 100%25"
    assert text.startswith("accept world to web tcp/80: found blocked%0A") and "no rule of web" in text
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    tell(results(path), to_stderr=True)
    assert summary.read_text() == summary_of(results(path))
    assert "1 pass, 1 fail" in summary.read_text()


def test_junit_counts_and_explains(tmp_path: Path) -> None:
    suite = ElementTree.fromstring(junit_document(results(tmp_path / "p.yaml")))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    [failure] = suite.iter("failure")
    assert "expected accept, found blocked" in str(failure.get("message")) and "no rule of web" in str(failure.text)


def test_hits_are_relative_or_exact() -> None:
    now = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    hit = rule("sgr-8", "tcp/80", prefix_list_id="pl-1", prefix_list_name="partners") | {
        "packets": 3,
        "bytes": 2048,
        "first_hit": "2026-05-01T11:00:00Z",
        "last_hit": "2026-05-01T11:58:00Z",
    }
    assert rule_row(hit, now) == ("sgr-8", "in", "tcp/80", "partners", "3", "2.0 KiB", "1 h ago", "2 m ago", "-")
    assert rule_row(hit, None)[6:8] == ("2026-05-01T11:00:00Z", "2026-05-01T11:58:00Z")
    assert rule_row({**hit, "first_hit": None}, now)[6] == "earlier"
    assert rule_row(rule("sgr-8", "all", group_id="sg-2", group_name=None), now)[3:] == (
        "sg-2",
        "0",
        "0 B",
        "-",
        "-",
        "-",
    )
