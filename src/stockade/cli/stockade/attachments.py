"""`stockade attach` and `detach`: an existing device of this host under groups. `stockade cut`: flows judged anew."""

import time
from collections.abc import Sequence
from typing import Any

from stockade.cli.stockade.connection import calling_as, credentials, native
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_json
from stockade.daemon import adopted, settings
from stockade.daemon.guest_addresses import addresses_behind
from stockade.daemon.problems import DEGRADED, USAGE, Problem

_SAID_WITHIN_S = 1.5  # the agent reports once a second
_POLL_S = 0.1


def attach(device: str, groups: Sequence[str], addresses: Sequence[str], mac: str | None, as_json: bool) -> int:
    """0: it is policed; 6: it is under groups, but the agent cannot police it, and says why."""
    caller = credentials()
    seen = adopted.look_at(settings.load(), device)
    octets = mac or seen.mac
    if octets is None:
        raise Problem(
            f"{device} does not tell its guest's MAC address",
            why=f"it is a {seen.kind or 'device'} without another end that the kernel knows",
            attempt=f"stockade attach {device} ... --mac 02:00:00:00:00:01",
            code=USAGE,
        )
    guests = [str(address) for address in addresses] or [str(address) for address in addresses_behind(device)]
    if not guests:
        raise Problem(
            f"{device}'s guest has no address yet, or it cannot be seen from here",
            attempt=f"stockade attach {device} ... --address 10.0.0.7        (each address that it may send from)",
            code=USAGE,
        )
    before = _policed(native(caller, "GET", "health").document)
    asked = {"device": device, "mac": octets, "addresses": guests, "groups": list(groups)}
    made = accepted(native(caller, "POST", "attachments", asked)).document
    why = _impaired(made["interface_id"], before)
    if as_json:
        print_json({**made, "impaired": why})
    else:
        print(attachment_line(made))
        if why is not None:
            print(coloured(f"not policed: {why}", "yellow"))
    return DEGRADED if why is not None or not made["enforced"] else 0


def detach(target: str, as_json: bool) -> int:
    """0: the device is as it was before it was attached; 6: the agent has not let go of it yet."""
    gone = accepted(native(credentials(), "DELETE", "attachments", query={"target": target})).document
    if as_json:
        print_json(gone)
    else:
        print(f"{gone['device']} let go ({gone['interface_id']})")
    return 0 if gone["enforced"] else DEGRADED


def cut(target: str, as_json: bool) -> int:
    """0: every live flow there is judged anew by its next packet."""
    told = accepted(native(calling_as(), "POST", "cut", {"target": target})).document
    if as_json:
        print_json(told)
    else:
        count = len(told["interfaces"])
        print(f"flows of {count} interface{'s' * (count != 1)} judged anew: {' '.join(told['interfaces']) or '-'}")
    return 0 if told["enforced"] else DEGRADED


def attachment_line(made: dict[str, Any]) -> str:
    """One device under groups, as people read it."""
    groups = ", ".join(one["group_name"] or one["group_id"] for one in made["groups"])
    addresses = " ".join(made["addresses"])
    return f"{made['device']}  {made['interface_id']}  {made['mac']}  {addresses}  {groups}"


def _impaired(interface: str, before: int) -> str | None:
    """Why the agent cannot police it. It says so within a second; one device more that is policed says it sooner."""
    caller = credentials()
    deadline = time.monotonic() + _SAID_WITHIN_S
    while time.monotonic() < deadline:
        health = native(caller, "GET", "health").document
        why = health.get("devices", {}).get("impaired", {}).get(interface)
        if why is not None:
            return str(why)
        if _policed(health) > before or health.get("enforcement", {}).get("mode") != "kernel":
            return None
        time.sleep(_POLL_S)
    return None


def _policed(health: dict[str, Any]) -> int:
    return int(health.get("devices", {}).get("policed", 0))
