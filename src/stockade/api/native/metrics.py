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
    yield "# HELP stockade_api_requests_total API requests by action and result code."
    yield "# TYPE stockade_api_requests_total counter"
    for (action, code), number in sorted(counters.requests.items()):
        yield f'stockade_api_requests_total{{action="{action}",code="{code}"}} {number}'
