"""Model values <-> the bytes that a store keeps: JSON with a schema version.

{"v": 1, ...fields} for a document, {"v": 1, "is": TEXT} for a claim. What a key holds follows from its first part.
"""

from typing import Any

import msgspec

from stockade.model import keys
from stockade.model.plain import PlainMalformed, from_plain, to_plain
from stockade.model.resources import KINDS, Value

VERSION = 1


class DocumentUnreadable(Exception):
    """A stored value is not what its key says, or of a version this release does not know."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key


def encode(key: str, value: Value) -> bytes:
    """The bytes to keep under the key."""
    kind = KINDS.get(keys.kind_of(key))
    fields: dict[str, Any] = {"is": value} if kind is None else to_plain(value, kind)
    return msgspec.json.encode({"v": VERSION, **fields})


def decode(key: str, data: bytes) -> Value:
    """What `encode` was given. Raises DocumentUnreadable."""
    try:
        plain = msgspec.json.decode(data)
        if plain.pop("v") != VERSION:
            raise DocumentUnreadable(key, "unknown version")
        kind = KINDS.get(keys.kind_of(key))
        value: Value = plain["is"] if kind is None else from_plain(plain, kind)
    except (msgspec.DecodeError, PlainMalformed, AttributeError, KeyError, TypeError) as err:
        raise DocumentUnreadable(key, str(err)) from err
    return value
