"""A nested dict becomes a response document.

For each shape one writer is made and kept: a closure over its elements' names that appends strings. A
writer takes what the dict has, in the model's order, and leaves out what it has not (or has as None).
Faster than building a tree by a factor of ten; the price is that escaping happens here and nowhere else.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from stockade.api.aws.wire.service_model import ListOf, Scalar, ServiceModel, Structure

Writer: TypeAlias = Callable[[Callable[[str], Any], Any], None]
"""Given an append function and a value, writes the value's content (not its own element)."""

_SPECIAL = re.compile(r"[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def text_of(text: str) -> str:
    """The text as XML content. What XML 1.0 cannot hold at all becomes U+FFFD."""
    return _SPECIAL.sub(lambda found: _NAMED.get(found[0], "\ufffd"), text)


def time_of(moment: datetime) -> str:
    """EC2's spelling: UTC, whole seconds, and three zeros."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def scalar_writer(append: Callable[[str], Any], value: Any) -> None:
    """Any value that is not a list or structure."""
    match value:
        case str():
            append(text_of(value))
        case bool():
            append("true" if value else "false")
        case bytes():
            append(b64encode(value).decode())
        case datetime():
            append(time_of(value))
        case _:
            append(text_of(str(value)))


def structure_writer(fields: Iterable[tuple[str, str, Writer]]) -> Writer:
    """A writer for (member name, element name, content writer) in this order."""
    rows = [(name, f"<{element}>", f"</{element}>", f"<{element}/>", write) for name, element, write in fields]

    def write_structure(append: Callable[[str], Any], value: Any) -> None:
        for name, opening, closing, empty, write in rows:
            content = value.get(name)
            if content is None:
                continue
            if content in ("", []):
                append(empty)
                continue
            append(opening)
            write(append, content)
            append(closing)

    return write_structure


def list_writer(element: str, write: Writer) -> Writer:
    """A writer that wraps each item in `element`."""
    opening, closing = f"<{element}>", f"</{element}>"

    def write_list(append: Callable[[str], Any], value: Any) -> None:
        for item in value:
            append(opening)
            write(append, item)
            append(closing)

    return write_list


class ModelWriters:
    """The writers of a service model's shapes, each made when first needed."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Writer] = {}

    def writer(self, shape: str) -> Writer:
        """The writer of this shape. Shapes may contain themselves."""
        known = self._made.get(shape)
        if known is None:

            def later(append: Callable[[str], Any], value: Any) -> None:
                self._made[shape](append, value)

            self._made[shape] = later
            known = self._made[shape] = self._make(shape)
        return known

    def _make(self, shape: str) -> Writer:
        match self._model.shape(shape):
            case Structure(members):
                return structure_writer((m.name, m.element, self.writer(m.shape)) for m in members)
            case ListOf(member, element):
                return list_writer(element, self.writer(member))
            case Scalar():
                return scalar_writer


def ec2_document(action: str, namespace: str, write: Writer | None, value: Any, request_id: str | None) -> str:
    """EC2's response: the request id first (None: the version has none), then the members themselves."""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<{action}Response xmlns="{namespace}">']
    if request_id is not None:
        parts.append(f"<requestId>{request_id}</requestId>")
    if write is not None:
        write(parts.append, value)
    parts.append(f"</{action}Response>")
    return "".join(parts)


def sts_document(action: str, namespace: str, write: Writer | None, value: Any, request_id: str) -> str:
    """STS's response: the result in an element of its own, the request id after it."""
    parts = [f'<{action}Response xmlns="{namespace}"><{action}Result>']
    if write is not None:
        write(parts.append, value)
    parts.append(f"</{action}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>")
    parts.append(f"</{action}Response>")
    return "".join(parts)
