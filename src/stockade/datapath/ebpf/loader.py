"""Object file -> programs and maps.

A *spec* is what the file says and is the same on every machine; loading makes descriptors of it that
belong to this kernel. Reads just what clang makes of bpf/: 64-bit ELF of our own byte order, one section a
program, subprograms in .text, map definitions as five numbers in section `maps`, two kinds of relocation.

The section's name says what the program is: classifier/NAME runs at tc, syscall/NAME when we ask for it.
"""

import os
import struct
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources

from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.type_info import TypeInfo, read_type_info

_KINDS = {"classifier": syscall.SCHED_CLS, "syscall": syscall.SYSCALL}
_INSTRUCTION = 8
_SYMTAB, _REL = 2, 9
_TO_MAP, _TO_CODE = 1, 10  # R_BPF_64_64, R_BPF_64_32
_FUNCTION = 2
_CALL, _PSEUDO_CALL = 0x85, 1
_PSEUDO_MAP_FD, _PSEUDO_FUNCTION = 1, 4
_BYTE_ORDER = "el" if sys.byteorder == "little" else "eb"


class ObjectMalformed(Exception):
    """The file is not an object this loader understands; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map as the object defines it."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    @property
    def info(self) -> syscall.MapInfo:
        return syscall.MapInfo(self.kind, self.key_size, self.value_size, self.max_entries, self.flags)


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program with its subprograms behind it; `maps` says which instruction wants which map's descriptor.

    `functions`: where each starts and what it is called, the program itself first.
    """

    name: str
    kind: int
    code: bytes
    maps: tuple[tuple[int, str], ...]
    functions: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """All that an object file holds."""

    maps: Mapping[str, MapSpec]
    programs: Mapping[str, ProgramSpec]
    license: str
    types: TypeInfo | None

    def resized(self, sizes: Mapping[str, int]) -> "ObjectSpec":
        """The same with other numbers of entries in some maps."""
        changed = {name: replace(self.maps[name], max_entries=entries) for name, entries in sizes.items()}
        return replace(self, maps={**self.maps, **changed})


def shipped_object(fault: str = "") -> bytes:
    """The object of this machine's byte order from the package; of the faulty build when `fault` names one.

    Raises FileNotFoundError when it was not built: bpf/build.sh makes it, and a wheel has it inside.
    """
    name = f"stockade{'-' + fault if fault else ''}.bpf.{_BYTE_ORDER}.o"
    return (resources.files("stockade.datapath.ebpf") / "objects" / name).read_bytes()


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    data: bytes
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    kind: int
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """One function's code: a section, and which bytes of it."""

    name: str
    section: int
    start: int
    length: int


def read_object(data: bytes) -> ObjectSpec:
    """The spec in an object file. Raises ObjectMalformed."""
    try:
        return _Reader(data).spec()
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as err:
        raise ObjectMalformed(f"truncated or damaged object: {err!r}") from err


class _Reader:
    def __init__(self, data: bytes) -> None:
        expected = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02")
        if data[:6] != expected:
            raise ObjectMalformed("not a 64-bit ELF file of this machine's byte order")
        self._data = data
        self._sections = self._read_sections()
        symtab = next(index for index, section in enumerate(self._sections) if section.kind == _SYMTAB)
        self._symbols = list(self._read_symbols(self._sections[symtab]))
        text = self._index(".text")
        self._functions = {
            symbol.value: _Piece(symbol.name, text, symbol.value, symbol.size)
            for symbol in self._symbols
            if symbol.section == text and symbol.kind == _FUNCTION
        }

    def _index(self, name: str) -> int:
        return next((index for index, section in enumerate(self._sections) if section.name == name), -1)

    def _read_sections(self) -> list[_Section]:
        (offset,) = struct.unpack_from("=Q", self._data, 40)
        size, count, names = struct.unpack_from("=HHH", self._data, 58)
        headers = [struct.unpack_from("=IIQQQQIIQQ", self._data, offset + index * size) for index in range(count)]
        strings = self._data[headers[names][4] :]
        return [
            _Section(_text_at(strings, name), kind, self._data[start : start + length], link, info)
            for name, kind, _, _, start, length, link, info, _, _ in headers
        ]

    def _read_symbols(self, table: _Section) -> Iterator[_Symbol]:
        strings = self._sections[table.link].data
        for name, kind, _, section, value, size in struct.iter_unpack("=IBBHQQ", table.data):
            yield _Symbol(_text_at(strings, name), kind & 0x0F, section, value, size)

    def spec(self) -> ObjectSpec:
        license_section = self._sections[self._index("license")]
        described = self._index(".BTF")
        types = read_type_info(self._sections[described].data) if described >= 0 else None
        maps = {spec.name: spec for spec in self._maps()}
        programs = {}
        for index, section in enumerate(self._sections):
            kind, _, name = section.name.partition("/")
            if kind in _KINDS and name:
                programs[name] = self._program(index, _KINDS[kind], name)
        return ObjectSpec(maps, programs, _text_at(license_section.data, 0), types)

    def _maps(self) -> Iterator[MapSpec]:
        index = self._index("maps")
        for symbol in self._symbols:
            if symbol.section == index and symbol.name:
                yield MapSpec(symbol.name, *struct.unpack_from("=5I", self._sections[index].data, symbol.value))

    def _program(self, index: int, kind: int, name: str) -> ProgramSpec:
        """The program and, behind it, the subprograms it reaches: the kernel refuses code that nothing calls."""
        pieces = [_Piece(name, index, 0, len(self._sections[index].data))]
        for piece in pieces:
            for _, target in (*self._calls(piece), *self._pointers(piece)):
                callee = self._functions[target]
                if callee not in pieces:
                    pieces.append(callee)
        starts: dict[_Piece, int] = {}
        code = bytearray()
        for piece in pieces:
            starts[piece] = len(code)
            code += self._sections[piece.section].data[piece.start : piece.start + piece.length]
        wanted: list[tuple[int, str]] = []
        for piece, start in starts.items():
            for place, target in self._calls(piece):
                _point_at(code, start + place - piece.start, starts[self._functions[target]])
            for place, target in self._pointers(piece):
                here = start + place - piece.start
                _point_at(code, here, starts[self._functions[target]])
                _set_source_register(code, here, _PSEUDO_FUNCTION)
            wanted += ((start + place - piece.start, label) for place, label in self._loads(piece))
        functions = tuple((start, piece.name) for piece, start in starts.items())
        return ProgramSpec(name, kind, bytes(code), tuple(wanted), functions)

    def _calls(self, piece: _Piece) -> Iterator[tuple[int, int]]:
        """Calls in this piece: where, and the offset in .text of what is called."""
        data = self._sections[piece.section].data
        relocated = {place: symbol for place, kind, symbol in self._relocations(piece) if kind == _TO_CODE}
        for place in range(piece.start, piece.start + piece.length, _INSTRUCTION):
            if data[place] != _CALL or _source_register(data[place + 1]) != _PSEUDO_CALL:
                continue
            (count,) = struct.unpack_from("=i", data, place + 4)
            symbol = relocated.get(place)
            # A call counts instructions from the one behind it, or from the symbol when that is elsewhere.
            yield place, (symbol.value if symbol else place) + (count + 1) * _INSTRUCTION

    def _pointers(self, piece: _Piece) -> Iterator[tuple[int, int]]:
        """Instructions in this piece that load the address of a function, and its offset in .text."""
        text = self._index(".text")
        data = self._sections[piece.section].data
        for place, kind, symbol in self._relocations(piece):
            if kind == _TO_MAP and text >= 0 and symbol.section == text:
                yield place, symbol.value + int(struct.unpack_from("=i", data, place + 4)[0])

    def _loads(self, piece: _Piece) -> Iterator[tuple[int, str]]:
        """Instructions in this piece that load the address of a map, and which."""
        maps, text = self._index("maps"), self._index(".text")
        for place, kind, symbol in self._relocations(piece):
            if kind == _TO_MAP and symbol.section == maps:
                yield place, symbol.name
            elif kind != _TO_CODE and symbol.section != text:
                raise ObjectMalformed(f"relocation {kind} to {symbol.name or 'a section'} is not understood")

    def _relocations(self, piece: _Piece) -> Iterator[tuple[int, int, _Symbol]]:
        for table in self._sections:
            if table.kind != _REL or table.info != piece.section:
                continue
            for place, info in struct.iter_unpack("=QQ", table.data):
                if piece.start <= place < piece.start + piece.length:
                    yield place, info & 0xFFFFFFFF, self._symbols[info >> 32]


def _point_at(code: bytearray, here: int, target: int) -> None:
    """Both a call and the address of a function count instructions from the one behind them."""
    struct.pack_into("=i", code, here + 4, (target - here) // _INSTRUCTION - 1)


def _source_register(registers: int) -> int:
    """Destination and source register share a byte, in the order of the machine."""
    return registers >> 4 if sys.byteorder == "little" else registers & 0x0F


def _set_source_register(code: bytearray, place: int, value: int) -> None:
    registers = code[place + 1]
    code[place + 1] = registers & 0x0F | value << 4 if sys.byteorder == "little" else registers & 0xF0 | value


def _text_at(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()


def load_programs(spec: ObjectSpec, maps: Mapping[str, int]) -> dict[str, int]:
    """Descriptors of all programs of the spec, using these map descriptors. Nothing stays open on failure."""
    # Side by side: verifying is most of the time that a start takes, and the kernel does it on every core.
    types = None if spec.types is None else syscall.load_btf(spec.types.data)
    try:
        with ThreadPoolExecutor(max_workers=len(spec.programs), thread_name_prefix="load") as threads:
            loading = {
                name: threads.submit(
                    syscall.load_program,
                    with_maps(program, maps),
                    spec.license,
                    name,
                    program.kind,
                    None if types is None else function_types(program, types, spec),
                )
                for name, program in spec.programs.items()
            }
    finally:
        if types is not None:
            os.close(types)
    refused = next((one.exception() for one in loading.values() if one.exception() is not None), None)
    if refused is not None:
        for one in loading.values():
            if one.exception() is None:
                os.close(one.result())
        raise refused
    return {name: one.result() for name, one in loading.items()}


def function_types(program: ProgramSpec, description: int, spec: ObjectSpec) -> syscall.FunctionTypes:
    """Which type each function of the program has, in the object's description as loaded under this descriptor."""
    numbers = spec.types.functions if spec.types is not None else {}
    return syscall.FunctionTypes(
        description, tuple((start // _INSTRUCTION, numbers[name]) for start, name in program.functions)
    )


def with_maps(program: ProgramSpec, maps: Mapping[str, int]) -> bytes:
    """The program's code with the descriptors of its maps put in."""
    code = bytearray(program.code)
    for place, name in program.maps:
        _set_source_register(code, place, _PSEUDO_MAP_FD)
        struct.pack_into("=i", code, place + 4, maps[name])
    return bytes(code)
