"""GET /_stockade/metrics, in the text form that Prometheus reads."""

from collections.abc import Iterator

from stockade.api.native.counters import Counters
from stockade.api.native.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(counters: Counters, health: Health) -> str:
    """All metrics."""
    return "\n".join(_lines(counters, health)) + "\n"


def _lines(counters: Counters, health: Health) -> Iterator[str]:
    yield "# HELP stockade_enforcing Whether security groups are enforced by the kernel and that was proven."
    yield "# TYPE stockade_enforcing gauge"
    yield f"stockade_enforcing {int(health.is_ready and health.mode == 'kernel')}"
    yield "# HELP stockade_events_lost_total Flow events that were lost before they were read."
    yield "# TYPE stockade_events_lost_total counter"
    yield f"stockade_events_lost_total {health.lost_events}"
    yield "# HELP stockade_drops_total Packets that were dropped, by reason."
    yield "# TYPE stockade_drops_total counter"
    for reason, number in sorted(health.drops.items()):
        yield f'stockade_drops_total{{reason="{reason}"}} {number}'
    yield from _audit(health)
    yield from _allowances(health)
    yield "# HELP stockade_api_requests_total API requests by action and result code."
    yield "# TYPE stockade_api_requests_total counter"
    for (action, code), number in sorted(counters.requests.items()):
        yield f'stockade_api_requests_total{{action="{action}",code="{code}"}} {number}'


def _audit(health: Health) -> Iterator[str]:
    """Nothing where nothing is audited."""
    if not health.audit:
        return
    yield "# HELP stockade_audits_total Comparisons of what the kernel enforces with what was applied."
    yield "# TYPE stockade_audits_total counter"
    yield f"stockade_audits_total {health.audit['audits']}"
    yield "# HELP stockade_audit_compared Entries that the last audit compared."
    yield "# TYPE stockade_audit_compared gauge"
    yield f"stockade_audit_compared {health.audit['compared']}"
    yield "# HELP stockade_drift_total Differences found between the kernel and what was applied."
    yield "# TYPE stockade_drift_total counter"
    yield f"stockade_drift_total {health.audit['drift']}"
    yield "# HELP stockade_drift_repaired_total Differences that were put right."
    yield "# TYPE stockade_drift_repaired_total counter"
    yield f"stockade_drift_repaired_total {health.audit['repaired']}"


def _allowances(health: Health) -> Iterator[str]:
    yield "# HELP stockade_conntrack_allowance_available Tracked flows that an interface may still open."
    yield "# TYPE stockade_conntrack_allowance_available gauge"
    for interface, (left, _) in sorted(health.allowances.items()):
        yield f'stockade_conntrack_allowance_available{{interface="{interface}"}} {left}'
    yield "# HELP stockade_conntrack_allowance_exceeded_total Packets dropped because the allowance was used up."
    yield "# TYPE stockade_conntrack_allowance_exceeded_total counter"
    for interface, (_, exceeded) in sorted(health.allowances.items()):
        yield f'stockade_conntrack_allowance_exceeded_total{{interface="{interface}"}} {exceeded}'
    yield "# HELP stockade_linklocal_allowance_exceeded_total Packets to names and time beyond 1,024 a second."
    yield "# TYPE stockade_linklocal_allowance_exceeded_total counter"
    for interface, packets in sorted(health.link_local_exceeded.items()):
        yield f'stockade_linklocal_allowance_exceeded_total{{interface="{interface}"}} {packets}'
