"""Struct layouts out of an object's BTF: enough of the format to hold them against layout.py."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_INT, _ARRAY, _STRUCT, _ENUM, _TYPEDEF, _VOLATILE, _CONST = 1, 3, 4, 6, 8, 9, 10
# Bytes behind the twelve every type has: fixed, and for each of its members.
_FIXED = {_INT: 4, _ARRAY: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, 5: 12, _ENUM: 8, 13: 8, 15: 12, 19: 12}


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: int
    size: int
    tail: bytes
    members: int


class Btf:
    """The types of one object file."""

    def __init__(self, elf: bytes) -> None:
        raw = _section(elf, ".BTF")
        header, types_at, types_length, strings_at, strings_length = struct.unpack_from("=IIIII", raw, 4)
        strings = raw[header + strings_at : header + strings_at + strings_length]
        self._strings = strings
        self._types = [_Type("", 0, 0, b"", 0), *self._read(raw[header + types_at : header + types_at + types_length])]

    def _read(self, data: bytes) -> Iterator[_Type]:
        at = 0
        while at < len(data):
            name, info, size = struct.unpack_from("=III", data, at)
            kind, members = info >> 24 & 0x1F, info & 0xFFFF
            length = _FIXED.get(kind, 0) + _EACH.get(kind, 0) * members
            yield _Type(self._text(name), kind, size, data[at + 12 : at + 12 + length], members)
            at += 12 + length

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def struct(self, name: str) -> tuple[int, list[Field]]:
        """Size and fields of a struct; KeyError when there is none of that name."""
        for found in self._types:
            if found.kind == _STRUCT and found.name == name:
                fields = []
                for each in range(found.members):
                    field, kind, bits = struct.unpack_from("=III", found.tail, 12 * each)
                    fields.append(Field(self._text(field), bits // 8, self._size(kind)))
                return found.size, fields
        raise KeyError(name)

    def enum(self, name: str) -> dict[str, int]:
        """Names and values of an enum."""
        for found in self._types:
            if found.kind == _ENUM and found.name == name:
                pairs = (struct.unpack_from("=Ii", found.tail, 8 * each) for each in range(found.members))
                return {self._text(label): value for label, value in pairs}
        raise KeyError(name)

    def _size(self, number: int) -> int:
        found = self._types[number]
        if found.kind == _ARRAY:
            element, _, count = struct.unpack("=III", found.tail)
            return self._size(element) * count
        if found.kind in (_TYPEDEF, _VOLATILE, _CONST):
            return self._size(found.size)
        return found.size


def _section(elf: bytes, wanted: str) -> bytes:
    (offset,) = struct.unpack_from("=Q", elf, 40)
    size, count, names = struct.unpack_from("=HHH", elf, 58)
    headers = [struct.unpack_from("=IIQQQQ", elf, offset + index * size) for index in range(count)]
    strings = elf[headers[names][4] :]
    for name, _, _, _, start, length in headers:
        if strings[name : strings.index(b"\0", name)] == wanted.encode():
            return elf[start : start + length]
    raise KeyError(wanted)
