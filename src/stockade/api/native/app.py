"""What is behind /_stockade/, without its cost: Starlette is imported (60 ms) when the first request comes."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from stockade.api.aws.auth.authenticate import Authenticator
from stockade.api.native.counters import Counters
from stockade.api.native.health import Health
from stockade.model.ids import HostId
from stockade.service.accounts import Accounts
from stockade.service.answers import Answers
from stockade.service.cuts import Cuts
from stockade.service.devices import Devices
from stockade.service.flows import Flows
from stockade.service.probing import Probing
from stockade.service.usage import Usage

Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


@dataclass(frozen=True, slots=True)
class NativeServices:
    """The use cases that these pages are for."""

    accounts: Accounts
    answers: Answers
    flows: Flows
    usage: Usage
    probing: Probing
    devices: Devices
    cuts: Cuts
    host: HostId


class Native:
    """Made at the start; `app` is called once, by the first request."""

    def __init__(
        self,
        services: NativeServices,
        authenticator: Authenticator,
        how_well: Callable[[], Health],
        counters: Counters,
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._how_well = how_well
        self._counters = counters

    def app(self) -> AsgiApp:
        """The ASGI application."""
        from stockade.api.native.routes import Routes  # noqa: PLC0415 - see above

        return Routes(self._services, self._authenticator, self._how_well, self._counters).app()
