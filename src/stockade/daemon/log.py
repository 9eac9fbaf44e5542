"""Events with fields, one a line, on stderr: `policy_applied revision=412 took_ms=4.2`, or JSON."""

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _Lines(logging.Formatter):
    def __init__(self, as_json: bool, process: str) -> None:
        super().__init__()
        self._as_json = as_json
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event = record.getMessage()
        if self._as_json:
            head = {"at": at, "level": record.levelname.lower(), "process": self._process, "event": event}
            return json.dumps(head | fields, default=str)
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{at} {record.levelname.lower()} {self._process} {event} {told}".rstrip()


def set_up(process: str, wanted: str | None) -> None:
    """`wanted` is STOCKADE_LOG: info, debug, json, or nothing (then only what somebody must act on)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(wanted == "json", process))
    levels = {"debug": logging.DEBUG, "info": logging.INFO, "json": logging.INFO}
    logging.basicConfig(handlers=[handler], level=levels.get(wanted or "", logging.WARNING), force=True)
