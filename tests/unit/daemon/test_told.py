"""What the API says of a host's audits and allowances."""

from stockade.api.native import health, metrics
from stockade.api.native.counters import Counters
from stockade.api.native.health import Health

ENFORCING = Health(
    "ready",
    "kernel",
    audit={"audits": 9, "compared": 40, "drift": 3, "repaired": 2, "failure": None},
    allowances={"eni-00000001": (120, 7)},
    link_local_exceeded={"eni-00000001": 5},
)


def test_health_says_what_the_auditor_found() -> None:
    assert health.document(ENFORCING)["enforcement"]["audit"]["repaired"] == 2
    assert "audit" not in health.document(Health("ready", "none"))["enforcement"]


def test_metrics_count_drift_and_allowances_by_interface() -> None:
    text = metrics.text(Counters(), ENFORCING).splitlines()
    assert "stockade_drift_total 3" in text
    assert "stockade_drift_repaired_total 2" in text
    assert 'stockade_conntrack_allowance_available{interface="eni-00000001"} 120' in text
    assert 'stockade_conntrack_allowance_exceeded_total{interface="eni-00000001"} 7' in text
    assert 'stockade_linklocal_allowance_exceeded_total{interface="eni-00000001"} 5' in text


def test_health_says_why_a_host_is_degraded() -> None:
    assert health.document(Health("degraded", "kernel", failure="map rules: ENOSPC"))["failure"] == "map rules: ENOSPC"
