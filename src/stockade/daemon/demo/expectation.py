"""Comparing records with what a story says they must be.

Expected lines are written as in the walk-throughs: fields between ` | `, an empty one `∅`, variables in braces.
A variable means a shape; those that name one thing are bound at first sight and must stay the same.
"""

import re
from collections.abc import Mapping, Sequence

_VARIABLE = re.compile(r"\{(\w+)\}")
_SHAPES = (
    (r"T", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000", False),
    (r"ZONE", r"us-east-1[a-z]", False),
    (r"ACCT", r"\d{12}", True),
    (r"RES\w*", r"r-[0-9a-f]{8}", True),
    (r"DNS\w+", r"ec2-\d+-\d+-\d+-\d+\.compute-1\.[a-z.]+", True),
    (r"PDNS\w+", r"ip-\d+-\d+-\d+-\d+\.[a-z.]+", True),
    (r"P?IP\w+", r"\d+\.\d+\.\d+\.\d+", True),
    (r"[A-Z]+\d*", r"i-[0-9a-f]{8}", True),
)


class Unbound(Exception):
    """A variable that should have been bound by an earlier step was not: that step failed."""


def fill(text: str, variables: Mapping[str, str]) -> str:
    """The text with its variables' values. Raises Unbound."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            raise Unbound(f"{{{name}}} is not known: the step that makes it failed")
        return variables[name]

    return _VARIABLE.sub(value, text)


def compare(expected: Sequence[str], printed: str, variables: dict[str, str]) -> str:
    """Empty when the printed records are the expected ones, else the first difference. Binds new variables.

    Split on tabs: an empty field that was lost is a difference, as it is for a script that counts fields.
    """
    records = [line.split("\t") for line in printed.splitlines()]
    for line, record in zip(expected, records, strict=False):
        fields = ["" if field == "∅" else field for field in line.split(" | ")]
        if len(fields) != len(record):
            return f"{len(record)} fields instead of {len(fields)}: {' | '.join(record)}"
        for field, got in zip(fields, record, strict=True):
            if not _matches(field, got, variables):
                wanted = _VARIABLE.sub(lambda match: variables.get(match.group(1), match.group(0)), field)
                return f"{got!r} instead of {wanted!r} in {' | '.join(record)}"
    if len(expected) != len(records):
        return f"{len(records)} lines instead of {len(expected)}"
    return ""


def _matches(field: str, got: str, variables: dict[str, str]) -> bool:
    match = _VARIABLE.fullmatch(field)
    if match is None:
        return bool(fill(field, variables) == got) if _VARIABLE.search(field) else field == got
    name = match.group(1)
    if name in variables:
        return variables[name] == got
    shape, binds = _shape(name)
    if not re.fullmatch(shape, got) or (binds and got in variables.values()):
        return False
    if binds:
        variables[name] = got
    return True


def _shape(name: str) -> tuple[str, bool]:
    return next((shape, binds) for pattern, shape, binds in _SHAPES if re.fullmatch(pattern, name))


def bind_names(instance: str, public: str, private: str, variables: dict[str, str]) -> None:
    """Both names of an instance, and the addresses that they spell."""
    variables[f"DNS{instance}"], variables[f"PDNS{instance}"] = public, private
    for variable, name in ((f"IP{instance}", public), (f"PIP{instance}", private)):
        variables[variable] = ".".join(re.findall(r"\d+", name.partition(".")[0])[-4:])
