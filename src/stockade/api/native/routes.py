"""The routes under /_stockade/, on Starlette."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stockade.api.aws.auth.authenticate import Authenticator
from stockade.api.aws.wire.faults import Fault
from stockade.api.native import health, metrics
from stockade.api.native.answers import AnswerRoutes, refused
from stockade.api.native.app import NativeServices
from stockade.api.native.attachments import AttachmentRoutes
from stockade.api.native.callers import body_of, identify, object_of
from stockade.api.native.counters import Counters
from stockade.api.native.streams import StreamRoutes
from stockade.model.account import Account, Platform
from stockade.model.errors import StockadeError


class Routes:
    """What is answered, and from what."""

    def __init__(
        self,
        services: NativeServices,
        authenticator: Authenticator,
        how_well: Callable[[], health.Health],
        counters: Counters,
    ) -> None:
        self._answers = AnswerRoutes(services, authenticator)
        self._streams = StreamRoutes(services.flows, services.answers, self._answers)
        self._attachments = AttachmentRoutes(services, self._answers)
        self._accounts = services.accounts
        self._authenticator = authenticator
        self._how_well = how_well
        self._counters = counters

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/_stockade/health", self.health),
                Route("/_stockade/health/live", self.live),
                Route("/_stockade/health/ready", self.health),
                Route("/_localstack/health", self.localstack_health),
                Route("/_stockade/metrics", self.metrics),
                Route("/_stockade/accounts", self.accounts, methods=["GET", "POST"]),
                Route("/_stockade/explain", self._answers.explain, methods=["POST"]),
                Route("/_stockade/matrix", self._answers.matrix, methods=["POST"]),
                Route("/_stockade/test", self._answers.test, methods=["POST"]),
                Route("/_stockade/group", self._answers.group),
                Route("/_stockade/names", self._answers.names),
                Route("/_stockade/flows", self._streams.flows),
                Route("/_stockade/attachments", self._attachments.attachments, methods=["GET", "POST", "DELETE"]),
                Route("/_stockade/cut", self._attachments.cut, methods=["POST"]),
            ],
        )

    async def health(self, request: Request) -> Response:
        seen = self._how_well()
        return JSONResponse(health.document(seen), 200 if seen.is_ready else 503)

    async def live(self, request: Request) -> Response:
        return JSONResponse({"schema": 1, "status": "live"})

    async def localstack_health(self, request: Request) -> Response:
        return JSONResponse(health.for_wait_scripts(self._how_well()))

    async def metrics(self, request: Request) -> Response:
        return PlainTextResponse(metrics.text(self._counters, self._how_well()), media_type=metrics.CONTENT_TYPE)

    async def accounts(self, request: Request) -> Response:
        """GET lists them, POST makes one; both for administrators, signed with version 4."""
        try:
            body = await body_of(request)
            self._check_admin(request, body)
            if request.method == "GET":
                return JSONResponse({"schema": 1, "accounts": [_shown(one) for one in self._accounts.all()]})
            asked = _object(body)
            created = await self._accounts.create(
                name=asked.get("name"),
                id=asked.get("id"),
                platform=_platform(asked.get("platform", Platform.VPC.value)),
                public_key=asked.get("key"),
            )
        except (Fault, StockadeError) as error:
            return refused(error)
        made = _shown(created.account) | {
            "schema": 1,
            "access_key_id": created.key.id,
            "secret_access_key": created.key.secret,
        }
        return JSONResponse(made, 201)

    def _check_admin(self, request: Request, body: bytes) -> None:
        identified = identify(self._authenticator, request, body)
        if identified.key is None or not identified.account.is_admin:
            raise Fault("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)


def _object(body: bytes) -> dict[str, str]:
    asked = object_of(body, frozenset({"id", "name", "platform", "key"}))
    if not all(isinstance(value, str) for value in asked.values()):
        raise Fault("MalformedQueryString", "The body must be a JSON object of strings.")
    return asked


def _platform(text: str) -> Platform:
    try:
        return Platform(text)
    except ValueError:
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter platform is invalid.") from None


def _shown(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.id,
        "name": account.name,
        "platform": account.platform.value,
        "default_key": account.default_key,
        "disabled": account.disabled,
    }
