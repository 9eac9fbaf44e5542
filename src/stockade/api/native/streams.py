"""GET /_stockade/flows: flow events as JSON lines, or as server-sent events that resume where they broke off."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stockade.api.aws.wire.faults import Fault
from stockade.api.native.answers import AnswerRoutes, refused
from stockade.api.native.flow_documents import FlowDocuments
from stockade.model.errors import StockadeError
from stockade.model.traffic import parse_traffic
from stockade.service.answers import Answers
from stockade.service.caller import Caller
from stockade.service.flows import FlowFilter, Flows, ShownFlow

LAST = 1_000
PARAMETERS = frozenset({"from", "to", "port", "group", "rule", "verdict", "since", "last", "follow"})


class StreamRoutes:
    """Parameters: from, to, port, group, rule, verdict (accept, reject), since (seconds), last, follow (1)."""

    def __init__(self, flows: Flows, answers: Answers, asking: AnswerRoutes) -> None:
        self._flows = flows
        self._answers = answers
        self._asking = asking

    async def flows(self, request: Request) -> Response:
        """What is kept; with follow=1, or as an event stream, also what comes."""
        try:
            caller = self._asking.caller(request)
            asked = dict(request.query_params)
            unknown = asked.keys() - PARAMETERS
            if unknown:
                raise Fault("UnknownParameter", f"The parameter {min(unknown)} is not recognized")
            wanted = self._filter(caller, asked)
            events = "text/event-stream" in request.headers.get("accept", "")
            resumed = self._resumed(request.headers.get("last-event-id"))
            last = LAST if "last" not in asked and "since" not in asked else _number(asked, "last")
        except (Fault, StockadeError) as error:
            return refused(error)
        lines = self._lines(caller, wanted, last, resumed, events or asked.get("follow") == "1")
        made = self._as_events(lines) if events else _as_json_lines(lines)
        kind = "text/event-stream" if events else "application/x-ndjson"
        return StreamingResponse(made, media_type=kind, headers={"cache-control": "no-cache, no-store"})

    def _filter(self, caller: Caller, asked: dict[str, str]) -> FlowFilter:
        directory = self._answers.directory(caller)
        verdict = asked.get("verdict")
        if verdict not in (None, "accept", "reject"):
            raise Fault("InvalidParameterValue", f"Value ({verdict}) for parameter verdict is invalid.")
        since = _number(asked, "since")
        return FlowFilter(
            source=directory.find("from", asked["from"]) if "from" in asked else None,
            destination=directory.find("destination", asked["to"]) if "to" in asked else None,
            traffic=parse_traffic(asked["port"]) if "port" in asked else None,
            group=directory.find_group("group", asked["group"]).id if "group" in asked else None,
            rule=asked.get("rule"),
            passed=None if verdict is None else verdict == "accept",
            since=None if since is None else datetime.now(UTC) - timedelta(seconds=since),
        )

    def _resumed(self, last_event_id: str | None) -> int | None:
        """After which number to go on. An id of another run of the daemon: from all that is kept."""
        if last_event_id is None:
            return None
        epoch, _, number = last_event_id.partition("-")
        return int(number) if epoch == self._flows.epoch and number.isascii() and number.isdigit() else 0

    async def _lines(
        self, caller: Caller, wanted: FlowFilter, last: int | None, resumed: int | None, follow: bool
    ) -> AsyncIterator[dict[str, Any]]:
        newest = self._flows.newest
        if resumed is None:
            for flow in await self._flows.kept(caller, wanted, last):
                yield self._document(caller, flow)
        if follow:
            async for shown in self._flows.following(caller, wanted, newest if resumed is None else resumed):
                yield {"missed": shown} if isinstance(shown, int) else self._document(caller, shown)

    def _document(self, caller: Caller, flow: ShownFlow) -> dict[str, Any]:
        return FlowDocuments(self._answers.resources, self._answers.directory(caller)).flow(flow)

    async def _as_events(self, lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
        yield ": flows\n\n"
        async for line in lines:
            kind, id = ("missed", "") if "missed" in line else ("flow", f"id: {self._flows.epoch}-{line['number']}\n")
            yield f"event: {kind}\n{id}data: {json.dumps(line)}\n\n"


async def _as_json_lines(lines: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for line in lines:
        yield json.dumps(line) + "\n"


def _number(asked: dict[str, str], name: str) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter {name} is invalid.")
    return int(text)
