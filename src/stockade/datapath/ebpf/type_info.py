"""The object's own description of its types (BTF), as the kernel takes it.

The kernel verifies a global function once, by what its type says of its arguments, instead of once for each way
to reach it; and it takes a function as a callback only with its type. So the description is loaded with every
program. Sections of data are left out of it: their sizes are a linker's business, and nothing here refers to them.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_STRUCT, _FUNCTION, _DATA_SECTION = 4, 12, 15
# Bytes behind the twelve that every type has, by kind: fixed, and for each member.
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_HEADER = struct.Struct("=HBBIIIII")


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """A description ready to be loaded, and the number in it of each function's type."""

    data: bytes
    functions: Mapping[str, int]


def read_type_info(section: bytes) -> TypeInfo:
    """What the object's .BTF section says. In the place of each section of data is an empty struct, as the others'
    numbers are their places.
    """
    magic, version, flags, header, types_at, types_length, strings_at, strings_length = _HEADER.unpack_from(section)
    types = section[header + types_at : header + types_at + types_length]
    strings = section[header + strings_at : header + strings_at + strings_length]
    functions: dict[str, int] = {}
    kept = bytearray()
    at, number = 0, 1
    while at < len(types):
        name, info, _ = struct.unpack_from("=III", types, at)
        kind, members = info >> 24 & 0x1F, info & 0xFFFF
        length = 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * members
        if kind == _FUNCTION:
            functions[strings[name : strings.index(b"\0", name)].decode()] = number
        kept += types[at : at + length] if kind != _DATA_SECTION else struct.pack("=III", 0, _STRUCT << 24, 0)
        at += length
        number += 1
    return TypeInfo(
        _HEADER.pack(magic, version, flags, _HEADER.size, 0, len(kept), len(kept), len(strings))
        + bytes(kept)
        + strings,
        functions,
    )
