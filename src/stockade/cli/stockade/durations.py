"""Durations as people write them: 500ms, 30s, 5m, 1h."""

import re
from datetime import timedelta

from stockade.daemon.problems import USAGE, Problem

_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Raises Problem when it is no duration."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if found is None:
        raise Problem(f"{text!r} is not a duration", attempt="30s, 500ms, 5m", code=USAGE)
    return float(found[1]) * _UNITS[found[2]]


def ago(span: timedelta) -> str:
    """The largest unit that fits: 3 m, 2 h, 5 d."""
    passed = max(int(span.total_seconds()), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if passed >= length:
            return f"{passed // length} {unit}"
    return f"{passed} s"
