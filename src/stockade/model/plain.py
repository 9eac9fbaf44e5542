"""Model values <-> plain values (dict, list, str, int, bool, None), driven by their type hints.

What the store keeps and what travels between processes. A dataclass is an object of its fields, those at
their default left out; a union of dataclasses carries its class's name under "kind"; an enum is its value,
an address its text, bytes are base64, a time is ISO 8601. A field that is missing takes its default and one
that is not known is passed over, so that documents outlive small changes of the model.

    to_plain(group, SecurityGroup)  ->  {"id": "sg-...", "rules": [...], ...}
    from_plain(document, SecurityGroup)  ->  the equal group

The two functions for a type are put together once, then only called.
"""

import re
import types
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple, NewType, TypeAlias, Union, get_args, get_origin, get_type_hints

Plain: TypeAlias = Any  # what JSON can say
Convert: TypeAlias = Callable[[Any], Any]

_SCALARS = (str, int, bool, float, type(None))
_ADDRESSES = {IPv4Address, IPv6Address}
_NETWORKS = {IPv4Network, IPv6Network}


class PlainMalformed(ValueError):
    """A plain value that is not what the type says."""


class Coder(NamedTuple):
    """Both ways for one type."""

    to_plain: Convert
    from_plain: Convert


def to_plain(value: object, kind: Any) -> Plain:
    """The plain form of a value of type `kind` (a class, a union, a NewType, tuple[X, ...], Mapping[str, X])."""
    return coder(kind).to_plain(value)


def from_plain(plain: Plain, kind: Any) -> Any:
    """The value of type `kind`. Raises PlainMalformed."""
    try:
        return coder(kind).from_plain(plain)
    except PlainMalformed:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise PlainMalformed(f"not a {getattr(kind, '__name__', kind)}: {err!r}") from err


@cache
def coder(kind: Any) -> Coder:
    """How values of this type travel. Raises TypeError for a type that has no plain form."""
    if isinstance(kind, NewType):
        return coder(kind.__supertype__)
    if kind in _SCALARS or kind is None:
        return Coder(_same, _same)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind))
    if origin is not None:
        return _container(origin, get_args(kind))
    if not isinstance(kind, type):
        raise TypeError(f"no plain form for {kind!r}")
    return _class(kind)


def _class(kind: type) -> Coder:
    if is_dataclass(kind):
        return _record(kind)
    if issubclass(kind, Enum):
        return Coder(lambda value: value.value, kind)
    if kind in _ADDRESSES:
        return Coder(str, _address)
    if kind in _NETWORKS:
        return Coder(str, _network)
    if kind is bytes:
        return Coder(lambda value: b64encode(value).decode(), lambda plain: b64decode(plain, validate=True))
    if kind is datetime:
        return Coder(datetime.isoformat, datetime.fromisoformat)
    raise TypeError(f"no plain form for {kind!r}")


def _same(value: Any) -> Any:
    return value


# Parsing an address costs microseconds and the same few hundred come again and again.
@lru_cache(maxsize=1 << 16)
def _address(text: str) -> Any:
    return ip_address(text)


@lru_cache(maxsize=1 << 14)
def _network(text: str) -> Any:
    return ip_network(text)


def _container(origin: Any, args: tuple[Any, ...]) -> Coder:
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        parts = [coder(arg) for arg in args]
        return Coder(
            lambda value: [part.to_plain(item) for part, item in zip(parts, value, strict=True)],
            lambda plain: tuple(part.from_plain(item) for part, item in zip(parts, plain, strict=True)),
        )
    if origin in (tuple, list, Sequence, frozenset):
        to, from_ = coder(args[0])
        made: Any = tuple if origin is Sequence else origin
        return Coder(lambda value: [to(item) for item in value], lambda plain: made(map(from_, plain)))
    if origin in (dict, Mapping):
        key, item = coder(args[0]), coder(args[1])
        return Coder(
            lambda value: {key.to_plain(k): item.to_plain(v) for k, v in value.items()},
            lambda plain: {key.from_plain(k): item.from_plain(v) for k, v in plain.items()},
        )
    raise TypeError(f"no plain form for {origin!r}")


def _union(args: tuple[Any, ...]) -> Coder:
    kinds = {arg for arg in args if arg is not type(None)}
    if len(kinds) == len(args):
        return _alternatives(kinds)
    inner = coder(kinds.pop()) if len(kinds) == 1 else _alternatives(kinds)
    to, from_ = inner
    return Coder(
        lambda value: None if value is None else to(value),
        lambda plain: None if plain is None else from_(plain),
    )


def _alternatives(kinds: set[Any]) -> Coder:
    if kinds == _ADDRESSES:
        return Coder(str, _address)
    if kinds == _NETWORKS:
        return Coder(str, _network)
    if not all(is_dataclass(kind) for kind in kinds):
        raise TypeError(f"a union of {kinds} cannot be told apart")
    tags = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in kinds}
    writers = {kind: (tag, coder(kind).to_plain) for kind, tag in tags.items()}
    readers = {tag: coder(kind).from_plain for kind, tag in tags.items()}

    def to(value: Any) -> Plain:
        tag, write = writers[type(value)]
        return {"kind": tag, **write(value)}

    def from_(plain: Plain) -> Any:
        return readers[plain["kind"]](plain)

    return Coder(to, from_)


def _record(kind: Any) -> Coder:
    hints = get_type_hints(kind)
    parts = [(field.name, _default(field), *coder(hints[field.name])) for field in fields(kind)]
    writers = [(name, default, to) for name, default, to, _ in parts]
    readers = {name: from_ for name, _, _, from_ in parts}
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}

    def to_plain(value: Any) -> Plain:
        if type(value) is not kind:
            raise PlainMalformed(f"not a {kind.__name__}: {type(value).__name__}")
        plain = {}
        for name, default, to in writers:
            item = getattr(value, name)
            if item is not default and item != default:
                plain[name] = to(item)
        return plain

    def from_plain(plain: Plain) -> Any:
        if type(plain) is not dict:
            raise PlainMalformed(f"not a {kind.__name__}: {type(plain).__name__}")
        missing = needed - plain.keys()
        if missing:
            raise PlainMalformed(f"a {kind.__name__} without {', '.join(sorted(missing))}")
        return kind(**{name: readers[name](item) for name, item in plain.items() if name in readers})

    return Coder(to_plain, from_plain)


def _default(field: Field[Any]) -> Any:
    """The default if it can be compared with; MISSING (equal to no value) otherwise."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING
