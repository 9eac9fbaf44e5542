"""What somebody changes behind the agent's back is found, told and put right within ten seconds."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netns.site import TestSite, build_micro, until
from netns.test_daemon import launch, tcp
from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.maps import Map

pytestmark = [pytest.mark.root, pytest.mark.alone]
PROMISED_S = 10.0


@pytest.fixture(scope="module")
def site() -> Iterator[TestSite]:
    build_micro()
    made = TestSite()
    made.up()
    yield made
    made.end()


@pytest.fixture(scope="module")
def machine(site: TestSite) -> dict[str, Any]:
    """One that is reached on port 22 and on no other."""
    _, [made] = launch(site.client(), 1, 22)
    until(lambda: site.opens(made["PublicIpAddress"], 22))
    return made


@pytest.fixture(scope="module")
def device(site: TestSite, machine: dict[str, Any]) -> str:
    record = json.loads((site.base / "state" / "instances" / machine["InstanceId"] / "record.json").read_text())
    return str(record["device"])


def audit_of(site: TestSite) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(site.stockade("status", "--json").stdout)["enforcement"]["audit"]
    return told


def tc(site: TestSite, *arguments: str) -> str:
    command = ["nsenter", f"--net=/run/netns/{site.netns}", "tc", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def emptied(name: str) -> Callable[[TestSite], None]:
    """Deletes every entry of a pinned map."""

    def empty(site: TestSite) -> None:
        table = Map(name, syscall.open_pinned(str(Path("/sys/fs/bpf") / site.name / name)))
        keys = [key for key, _ in table.items()]
        assert keys, f"{name} was empty"
        for key in keys:
            table.remove(key)
        table.close()

    return empty


def zeroed(name: str) -> Callable[[TestSite], None]:
    """Writes zeros over every value of a pinned map."""

    def zero(site: TestSite) -> None:
        table = Map(name, syscall.open_pinned(str(Path("/sys/fs/bpf") / site.name / name)))
        keys = [key for key, _ in table.items()]
        assert keys, f"{name} was empty"
        for key in keys:
            table.put(key, bytes(table.info.value_size))
        table.close()

    return zero


def test_an_untouched_host_has_no_drift(site: TestSite, machine: dict[str, Any]) -> None:
    before = audit_of(site)
    until(lambda: audit_of(site)["audits"] >= before["audits"] + 2)
    after = audit_of(site)
    assert (after["drift"], after["repaired"], after["failure"]) == (0, 0, None)
    assert after["compared"] > 0


def test_launches_changes_and_terminations_are_no_drift(site: TestSite, machine: dict[str, Any]) -> None:
    ec2, before = site.client(), audit_of(site)
    group, made = launch(ec2, 4, 22)
    for port in range(8000, 8010):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(port))
    names = [one["InstanceId"] for one in made]
    ec2.terminate_instances(InstanceIds=names)
    until(lambda: all(state_of(ec2, name) == "terminated" for name in names))
    until(lambda: audit_of(site)["audits"] >= before["audits"] + 5)
    after = audit_of(site)
    assert (after["drift"], after["failure"]) == (before["drift"], None), site.log()


def state_of(ec2: Any, instance: str) -> str:
    told = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(told["State"]["Name"])


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_a_filter_that_is_taken_away_comes_back(
    site: TestSite, machine: dict[str, Any], device: str, side: str
) -> None:
    before = audit_of(site)
    tc(site, "filter", "del", "dev", device, side)
    began = time.monotonic()
    until(lambda: "direct-action" in tc(site, "filter", "show", "dev", device, side), PROMISED_S)
    assert time.monotonic() - began < PROMISED_S
    after = until(lambda: found if (found := audit_of(site))["repaired"] > before["repaired"] else None)
    assert after["drift"] == after["repaired"]
    assert not site.opens(machine["PublicIpAddress"], 23)
    assert site.opens(machine["PublicIpAddress"], 22)


@pytest.mark.parametrize("damage", [emptied("addresses"), emptied("prefixes"), zeroed("publics")], ids=str)
def test_what_is_written_into_tables_is_put_right(
    site: TestSite, machine: dict[str, Any], damage: Callable[[TestSite], None]
) -> None:
    before = audit_of(site)
    damage(site)
    after = until(lambda: found if (found := audit_of(site))["repaired"] > before["repaired"] else None, PROMISED_S)
    assert after["drift"] == after["repaired"]
    until(lambda: site.opens(machine["PublicIpAddress"], 22))
    assert not site.opens(machine["PublicIpAddress"], 23)


def test_drift_is_in_the_log_the_status_and_the_metrics(site: TestSite, machine: dict[str, Any], device: str) -> None:
    before = audit_of(site)
    tc(site, "filter", "del", "dev", device, "egress")
    until(lambda: audit_of(site)["repaired"] > before["repaired"], PROMISED_S)
    assert " drift found=" in site.log()
    assert f"on {device}" in site.log()
    assert "audit: " in site.stockade("status").stdout
    told = until(lambda: metrics_of(site))
    assert told["stockade_drift_repaired_total"] > before["repaired"]
    available = [name for name in told if name.startswith("stockade_conntrack_allowance_available{")]
    assert len(available) == 1
    assert 0 < told[available[0]] <= 32768


def metrics_of(site: TestSite) -> dict[str, float]:
    told = json.loads(site.stockade("env", "--shell", "json").stdout)
    endpoint = told["AWS_ENDPOINT_URL_EC2"]
    command = ["nsenter", f"--net=/run/netns/{site.netns}", "curl", "-sf", f"{endpoint}/_stockade/metrics"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }
