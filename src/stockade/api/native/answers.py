"""POST /_stockade/explain, matrix, test: questions about the rules, answered for the account that signs it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stockade.api.aws.auth.authenticate import Authenticator
from stockade.api.aws.errors import fault_of
from stockade.api.aws.wire.faults import Fault
from stockade.api.native.app import NativeServices
from stockade.api.native.callers import body_of, flag_of, identify, object_of, text_of
from stockade.api.native.documents import Documents, names_document, verdict_of
from stockade.api.native.probe_documents import MODES, probe_document, test_document, tests_document
from stockade.model.errors import StockadeError
from stockade.model.resources import Resources
from stockade.model.traffic import parse_traffic
from stockade.service.answers import Answer
from stockade.service.caller import Caller
from stockade.service.directory import Named
from stockade.service.flows import RECENT
from stockade.service.probing import ProbedAnswer


class AnswerRoutes:
    """Each takes a JSON object and answers one."""

    def __init__(self, services: NativeServices, authenticator: Authenticator) -> None:
        self._answers = services.answers
        self._flows = services.flows
        self._usage = services.usage
        self._probing = services.probing
        self._authenticator = authenticator

    async def explain(self, request: Request) -> Response:
        """Would it pass, and why; with `probe`, also what real packets do."""
        try:
            caller, body = await self._asked(request)
            asked = object_of(body, frozenset({"source", "destination", "traffic", "probe"}))
            traffic = parse_traffic(text_of(asked, "traffic"))
            source, destination = text_of(asked, "source"), text_of(asked, "destination")
            answer = await self._answers.explain(caller, source, destination, traffic)
            named = answer.question
            # Before our own packets are among them.
            rejected = await self._flows.recent_rejects(caller, named.source, named.destination, traffic)
            probed = await self._probed(caller, [answer]) if flag_of(asked, "probe") else []
            answer = probed[0].answer if probed else answer
        except (Fault, StockadeError) as error:
            return refused(error)
        recent = {"rejected": rejected, "seconds": int(RECENT.total_seconds())}
        document = {"schema": 1, **self._documents(caller).answer(answer), "recent": recent}
        return JSONResponse(document | ({"probe": probe_document(probed[0])} if probed else {}))

    async def _probed(self, caller: Caller, answers: Sequence[Answer]) -> list[ProbedAnswer]:
        return await self._probing.probe(caller, answers, lambda again: self._answers.ask(caller, again))

    async def matrix(self, request: Request) -> Response:
        """Who can reach whom."""
        try:
            caller, body = await self._asked(request)
            traffic = parse_traffic(object_of(body, frozenset({"traffic"})).get("traffic") or "all")
            parties, answers = await self._answers.matrix(caller, traffic)
        except (Fault, StockadeError) as error:
            return refused(error)
        shown = [_party(one) for one in parties]
        cells = [
            {
                "source": _party(one.question.source),
                "destination": _party(one.question.destination),
                "verdict": verdict_of(one),
                "open": [str(part) for part in one.open],
            }
            for one in answers
        ]
        return JSONResponse({"schema": 1, "traffic": str(traffic), "parties": shown, "cells": cells})

    async def test(self, request: Request) -> Response:
        """A test file's content; each expectation with what was found, explained when it is not what was expected.

        `mode` model asks the engine, kernel sends packets where there are instances, both holds one against the other.
        """
        try:
            caller, body = await self._asked(request)
            asked = object_of(body, frozenset({"version", "names", "tests", "mode"}))
            mode = asked.pop("mode", "model")
            if mode not in MODES:
                raise Fault("InvalidParameterValue", f"Value ({mode}) for parameter mode is invalid.")
            outcomes = await self._answers.test(caller, asked)
            answers = [outcome.answer for outcome in outcomes]
            probed = await self._probed(caller, answers) if mode != "model" else []
        except (Fault, StockadeError) as error:
            return refused(error)
        documents = self._documents(caller)
        results = [
            test_document(documents, outcome, probed[at] if probed else None, mode)
            for at, outcome in enumerate(outcomes)
        ]
        return JSONResponse(tests_document(mode, results))

    async def group(self, request: Request) -> Response:
        """A group: rules with what they let through, members, who refers to it."""
        try:
            caller = self.caller(request)
            name = request.query_params.get("name")
            if not name:
                raise Fault("MissingParameter", "The request must contain the parameter name")
            use = self._usage.group(caller, name)
        except (Fault, StockadeError) as error:
            return refused(error)
        return JSONResponse({"schema": 1, **self._documents(caller).group(use)})

    async def names(self, request: Request) -> Response:
        """What begins as `prefix`: for completion in a shell. Ids only once they are begun."""
        try:
            caller = self.caller(request)
        except Fault as error:
            return refused(error)
        prefix = request.query_params.get("prefix", "")
        return JSONResponse({"schema": 1, **names_document(self._answers.directory(caller), prefix)})

    def _documents(self, caller: Caller) -> Documents:
        return Documents(self._resources, self._answers.directory(caller))

    @property
    def _resources(self) -> Resources:
        return self._answers.resources

    async def _asked(self, request: Request) -> tuple[Caller, bytes]:
        body = await body_of(request)
        return self.caller(request, body), body

    def caller(self, request: Request, body: bytes = b"") -> Caller:
        """Who asks. Raises Fault."""
        identified = identify(self._authenticator, request, body)
        key = identified.key.id if identified.key is not None else None
        return Caller(identified.account, self._answers.region(identified.region), key)


def _party(named: Named) -> dict[str, str | None]:
    if named.group is None:
        return {"name": named.text, "group_id": None}
    return {"name": named.group.name, "group_id": named.group.id, "account_id": named.group.account}


def refused(error: Fault | StockadeError) -> Response:
    """An error as every route below /_stockade/ answers it."""
    fault = error if isinstance(error, Fault) else fault_of(error, classic=False)
    return JSONResponse({"schema": 1, "error": {"code": fault.code, "message": fault.message}}, fault.status)
