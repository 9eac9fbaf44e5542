"""What is kept on disk of an instance, so that another process finds it again: record.json in its directory."""

import json
import os
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from stockade.instances.contract import InstanceSpec
from stockade.linux.processes import ProcessId
from stockade.model.addresses import MacAddress
from stockade.model.ids import InstanceId, NetworkInterfaceId
from stockade.model.instance import InstanceStatus, Observed

_FILE = "record.json"


@dataclass(frozen=True, slots=True)
class Record:
    """`process` is None until it was started. `first_id`: what the instance's uid 0 is on the host."""

    spec: InstanceSpec
    device: str
    first_id: int = 0
    process: ProcessId | None = None


def save(directory: Path, record: Record) -> None:
    """Written whole or not at all."""
    spec = {name: _plain(value) for name, value in asdict(record.spec).items()}
    process = None if record.process is None else [record.process.pid, record.process.started]
    text = json.dumps({"spec": spec, "first_id": record.first_id, "device": record.device, "process": process})
    scratch = directory / (_FILE + ".new")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, directory / _FILE)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if isinstance(value, int) else str(value)


def load(directory: Path) -> Record | None:
    """None when there is none, or only part of one: then nothing was started."""
    try:
        kept = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        spec = kept["spec"]
        return Record(
            spec=InstanceSpec(
                **{
                    **spec,
                    "id": InstanceId(spec["id"]),
                    "interface": NetworkInterfaceId(spec["interface"]),
                    "mac": MacAddress(spec["mac"]),
                    "address": IPv4Address(spec["address"]),
                    "network": IPv4Network(spec["network"]),
                    "addresses6": tuple(IPv6Address(one) for one in spec.get("addresses6", ())),
                }
            ),
            first_id=kept["first_id"],
            device=kept["device"],
            process=None if kept["process"] is None else ProcessId(*kept["process"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def status_of(record: Record, has_device: bool) -> InstanceStatus:
    """What the instance is now."""
    instance = record.spec.id
    if record.process is None:
        return InstanceStatus(instance, Observed.STARTING)
    if not record.process.alive:
        return InstanceStatus(instance, Observed.GONE, "its first process ended")
    if not has_device:
        return InstanceStatus(instance, Observed.IMPAIRED, "its network device is gone")
    return InstanceStatus(instance, Observed.RUNNING)
