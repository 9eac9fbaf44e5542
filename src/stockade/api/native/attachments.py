"""/_stockade/attachments and /_stockade/cut: devices of the host under groups, and flows judged anew."""

from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stockade.api.aws.wire.faults import Fault
from stockade.api.native.answers import AnswerRoutes, refused
from stockade.api.native.app import NativeServices
from stockade.api.native.callers import body_of, object_of, text_of
from stockade.model.addresses import Address
from stockade.model.errors import ResourceNotFound, StockadeError
from stockade.model.network_interface import NetworkInterface
from stockade.service.call import calling
from stockade.service.caller import Caller
from stockade.service.security_groups import GroupRef

_ATTACHMENT = frozenset({"device", "mac", "addresses", "groups"})


class AttachmentRoutes:
    """Attachments are the operator's alone: GET, POST and DELETE are for administrators."""

    def __init__(self, services: NativeServices, asking: AnswerRoutes) -> None:
        self._services = services
        self._asking = asking

    async def attachments(self, request: Request) -> Response:
        """GET lists them, POST makes one, DELETE ?target= lets go of one."""
        try:
            body = await body_of(request)
            caller = self._asking.caller(request, body)
            match request.method:
                case "POST":
                    return await self._attach(caller, object_of(body, _ATTACHMENT))
                case "DELETE":
                    return await self._detach(caller, request.query_params.get("target") or "")
                case _:
                    found = [self._shown(one) for one in self._services.devices.attached(caller)]
                    return JSONResponse({"schema": 1, "attachments": found})
        except (Fault, StockadeError) as error:
            return refused(error)

    async def cut(self, request: Request) -> Response:
        """Every live flow of a group's members, or of one interface or instance, is judged anew by its next packet."""
        try:
            body = await body_of(request)
            caller = self._asking.caller(request, body)
            target = text_of(object_of(body, frozenset({"target"})), "target")
            named = self._services.answers.directory(caller).find("target", target)
            with calling() as call:
                if named.group is not None:
                    owner = self._services.answers.resources.accounts[named.group.account]
                    mine = Caller(owner, caller.region, caller.key)  # the directory has shown only what is the caller's
                    cut = list(await self._services.cuts.cut_group(mine, GroupRef(id=named.group.id)))
                else:
                    cut = [await self._services.cuts.cut_interface(caller, id) for id in named.interfaces]
            if named.group is None and not cut:
                raise Fault("InvalidParameterValue", f"Value ({target}) for parameter target is invalid.")
        except (Fault, StockadeError) as error:
            return refused(error)
        return JSONResponse({"schema": 1, "interfaces": cut, "enforced": not call.lagging})

    async def _attach(self, caller: Caller, asked: dict[str, Any]) -> Response:
        directory = self._services.answers.directory(caller)
        groups = [directory.find_group("groups", name).id for name in _texts(asked, "groups")]
        addresses = [_address(text) for text in _texts(asked, "addresses")]
        host = self._services.host
        with calling() as call:
            made = await self._services.devices.attach_device(
                caller, host, text_of(asked, "device"), text_of(asked, "mac"), addresses, groups
            )
        return JSONResponse({"schema": 1, **self._shown(made), "enforced": not call.lagging}, 201)

    async def _detach(self, caller: Caller, target: str) -> Response:
        if not target:
            raise Fault("MissingParameter", "The request must contain the parameter target")
        try:
            with calling() as call:
                gone = await self._services.devices.detach_device(caller, target)
        except ResourceNotFound:
            why = f"Value ({target}) for parameter target is invalid. No attached device is called that."
            raise Fault("InvalidParameterValue", why) from None
        return JSONResponse({"schema": 1, **self._shown(gone), "enforced": not call.lagging})

    def _shown(self, one: NetworkInterface) -> dict[str, Any]:
        groups = self._services.answers.resources.groups
        return {
            "interface_id": one.id,
            "device": one.device,
            "host": one.host,
            "mac": one.mac,
            "addresses": [str(address) for address in one.addresses],
            "groups": [{"group_id": id, "group_name": groups[id].name if id in groups else None} for id in one.groups],
            "account_id": one.account,
            "vpc_id": one.vpc,
        }


def _texts(asked: dict[str, Any], name: str) -> list[str]:
    value = asked.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise Fault("MissingParameter", f"The request must contain the parameter {name}, a list of texts")
    return value


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Fault("InvalidParameterValue", f"Value ({text}) for parameter addresses is invalid.") from None
