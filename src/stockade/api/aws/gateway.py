"""A request becomes a response: the ordered steps, each in its own module.

    parameters -> service and version -> who asks -> which region -> which action
               -> its input -> act (and wait for enforcement) -> document

A fault at any step becomes that service's error document. Nothing before `identify` depends on who asks,
and nothing after it is reached without a true signature.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stockade.api.aws.actions import (  # noqa: F401 - importing a module registers its actions
    absent,
    attributes,
    identity,
    images,
    instances,
    ipv6_blocks,
    key_pairs,
    network_interfaces,
    networks,
    prefix_lists,
    rule_edits,
    rules,
    security_groups,
    tags,
    vpcs,
)
from stockade.api.aws.auth.authenticate import Authenticator, Identified
from stockade.api.aws.errors import fault_of, internal_error
from stockade.api.aws.registry import Asked, Built, Services, built, check_parameters
from stockade.api.aws.request import HttpRequest
from stockade.api.aws.wire import classic
from stockade.api.aws.wire.faults import Fault, ec2_error_document, sts_error_document
from stockade.api.aws.wire.query import decode, parse_form, single_valued
from stockade.api.aws.wire.service_model import Action, ServiceModel
from stockade.api.aws.wire.xml import ModelWriters, ec2_document, sts_document
from stockade.model.errors import RegionNotFound, StockadeError
from stockade.service.call import Call, calling
from stockade.service.caller import Caller

log = logging.getLogger("stockade.api")

DEFAULT_REGION = "us-east-1"
EC2_NEWEST = "2016-11-15"
STS_VERSION = "2011-06-15"
LONGEST_WAIT_S = 60.0

_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_REGION_HOST = re.compile(r"ec2\.([a-z0-9-]+)\.localhost(:\d+)?")
_REGION_PATH = re.compile(r"(?:^|/)region/([a-z0-9-]+)(?:/|$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `action` and `code` ("OK" or the error's) are for those who count."""

    status: int
    document: bytes
    request_id: str
    action: str
    code: str
    account: str | None
    content_type: str = "text/xml;charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Progress:
    """What is known of a request so far, for its answer however it ends."""

    request_id: str
    sts: bool = False
    action: str = "-"
    identified: Identified | None = None


class Gateway:
    """EC2 and STS by Query. One for the life of the process."""

    def __init__(
        self,
        services: Services,
        authenticator: Authenticator,
        regions: Callable[[], frozenset[str]],
        new_request_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._services = services
        self._authenticator = authenticator
        self._regions = regions
        self._new_request_id = new_request_id
        self._models = {sts: _model("sts" if sts else "ec2") for sts in (False, True)}
        self._writers = {sts: ModelWriters(model) for sts, model in self._models.items()}
        self._classic: dict[str, classic.ClassicWriters] = {}

    async def answer(self, request: HttpRequest) -> Answer:
        """Never raises, except when cancelled."""
        progress = _Progress(self._new_request_id())
        try:
            with calling(_wait_of(request), _cut_of(request)) as call:
                document = await self._document(request, progress)
            return self._say(progress, 200, "OK", document, _told(call))
        except Fault as fault:
            return self._fault(progress, fault)
        except StockadeError as error:
            account = progress.identified.account if progress.identified is not None else None
            is_classic = account is not None and account.platform.value == "classic"
            return self._fault(progress, fault_of(error, is_classic))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request_failed action=%s request_id=%s", progress.action, progress.request_id)
            return self._fault(progress, internal_error())

    async def _document(self, request: HttpRequest, progress: _Progress) -> str:
        parameters = _parameters(request)
        version = parameters.get("Version", "")
        progress.sts = version == STS_VERSION
        name = parameters.get("Action", parameters.get("Operation", ""))
        identified = self._authenticator.identify(request, parameters, progress.sts)
        progress.identified = identified
        if not name:
            raise Fault("MissingAction", "The request must contain the parameter Action")
        _check_version(version)
        action, function = self._find(name, version, progress.sts)
        progress.action = name
        caller = Caller(
            account=identified.account,
            region=self._region(request, identified),
            key=None if identified.key is None else identified.key.id,
            request_id=progress.request_id,
        )
        old_names = classic.OLD_PARAMETERS.get(name, frozenset())
        old = {key: value for key, value in parameters.items() if key in old_names}
        given = decode(
            self._models[progress.sts],
            action.input,
            {key: value for key, value in parameters.items() if key not in old_names},
        )
        check_parameters(name, function, given)
        is_classic = not progress.sts and classic.is_classic(version)
        authority = request.header("host") or ""
        output = await function.function(Asked(caller, self._services, given, is_classic, old, authority))
        return self._write(action, version, progress, output)

    def _find(self, name: str, version: str, sts: bool) -> tuple[Action, Built]:
        """The action as the model has it and as we built it; raises Fault."""
        action = self._models[sts].action(name)
        too_new = not sts and classic.is_classic(version) and not classic.has_action(name, version)
        if action is None or too_new:
            raise Fault("InvalidAction", f"The action {name} is not valid for this web service.")
        function = built(sts).get(name)
        if function is None:
            raise Fault("UnsupportedOperation", f"The action {name} is not built in Stockade.")
        return action, function

    def _region(self, request: HttpRequest, identified: Identified) -> str:
        """Scope, else host, else path, else the default. A name that looks like a region must be served."""
        host = _REGION_HOST.fullmatch(request.header("host") or "")
        path = _REGION_PATH.search(request.path)
        named = (identified.region, host and host[1], path and path[1])
        region = next((name for name in named if name and _REGION.fullmatch(name)), DEFAULT_REGION)
        if region not in self._regions():
            raise RegionNotFound(region)
        return region

    def _write(self, action: Action, version: str, progress: _Progress, output: Mapping[str, object]) -> str:
        writers = self._writers[progress.sts]
        write = None if action.output is None else writers.writer(action.output)
        if progress.sts:
            return sts_document(action.name, self._models[True].namespace, write, output, progress.request_id)
        request_id: str | None = progress.request_id
        if classic.is_classic(version):
            write = self._classic.setdefault(version, classic.ClassicWriters(version)).writer(action.name)
            request_id = progress.request_id if version >= classic.REQUEST_IDS_SINCE else None
        elif write is None:
            write = classic.write_return
        return ec2_document(action.name, f"http://ec2.amazonaws.com/doc/{version}/", write, output, request_id)

    def _fault(self, progress: _Progress, fault: Fault) -> Answer:
        if progress.sts:
            document = sts_error_document(fault, progress.request_id, self._models[True].namespace)
        else:
            document = ec2_error_document(fault, progress.request_id)
        return self._say(progress, fault.status, fault.code, document, ())

    def _say(
        self, progress: _Progress, status: int, code: str, document: str, headers: tuple[tuple[str, str], ...]
    ) -> Answer:
        account = progress.identified.account.id if progress.identified is not None else None
        return Answer(status, document.encode(), progress.request_id, progress.action, code, account, headers=headers)


def _model(service: str) -> ServiceModel:
    return ServiceModel((Path(__file__).parent / "wire" / f"{service}_model.json.gz").read_bytes())


def _parameters(request: HttpRequest) -> dict[str, str]:
    """Query string and form together; raises Fault for what is not a Query request."""
    pairs = parse_form(request.query)
    if request.method not in {"GET", "POST"}:
        raise Fault("InvalidRequest", f"The method {request.method} is not allowed.", 405)
    if request.body:
        kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
        if "xml" in kind or "json" in kind:
            raise Fault("UnsupportedProtocol", "Only Query requests are served: an HTTP GET, or a POST of a form.")
        try:
            pairs += parse_form(request.body.decode())
        except UnicodeDecodeError:
            raise Fault("MalformedQueryString", "The form is not UTF-8") from None
    return single_valued(pairs)


def _check_version(version: str) -> None:
    if not version:
        raise Fault("MissingParameter", "The request must contain the parameter Version")
    if version != STS_VERSION and not (_VERSION.fullmatch(version) and classic.FIRST <= version <= EC2_NEWEST):
        text = f"The requested version ({version}) of service AmazonEC2 does not exist"
        raise Fault("NoSuchVersion", text)


def _wait_of(request: HttpRequest) -> float | None:
    """How long the caller wants to wait for enforcement; None: as the server is set."""
    text = (request.header("x-stockade-wait") or "").strip().lower()
    if text in {"", "on", "true", "yes"}:
        return None
    if text in {"off", "false", "no"}:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= LONGEST_WAIT_S:
        raise Fault("InvalidParameterValue", f"x-stockade-wait: '{text}' is not on, off or up to 60 seconds")
    return seconds


def _cut_of(request: HttpRequest) -> bool:
    """Whether the live flows that the change concerns are to be judged anew."""
    text = (request.header("x-stockade-cut") or "").strip().lower()
    if text in {"", "off", "false", "no"}:
        return False
    if text in {"on", "true", "yes"}:
        return True
    raise Fault("InvalidParameterValue", f"x-stockade-cut: '{text}' is neither true nor false")


def _told(call: Call) -> tuple[tuple[str, str], ...]:
    """What was written and who lags, as headers of our own."""
    if not call.revision:
        return ()
    lagging = (("x-stockade-lagging", ",".join(call.lagging)),) if call.lagging else ()
    return (("x-stockade-revision", str(call.revision)), *lagging)
