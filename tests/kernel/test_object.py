"""The object file: what it says is what layout.py says, and this kernel takes it."""

import os
import struct
import sys

import pytest

from kernel.btf import Btf
from stockade.datapath.ebpf import layout, loader, syscall
from stockade.model.flow import DropReason
from stockade.model.ports import TCP, UDP

BUDGET = 100_000
"""Instructions the verifier may walk, a tenth of its limit: an older one prunes less and must get through too."""

FORMATS = {
    "endpoint": layout.ENDPOINT,
    "endpoint_name": layout.ENDPOINT_NAME,
    "address_key": layout.ADDRESS_KEY[4],
    "address6_key": layout.ADDRESS_KEY[6],
    "address": layout.ADDRESS,
    "gate_summary": layout.GATE_SUMMARY,
    "policy": layout.POLICY,
    "policy_key": layout.POLICY_KEY,
    "interval": layout.INTERVAL,
    "interval_set": layout.INTERVAL_SET,
    "prefix_key": layout.PREFIX_KEY[4],
    "prefix6_key": layout.PREFIX_KEY[6],
    "flow_key": layout.FLOW_KEY[4],
    "flow6_key": layout.FLOW_KEY[6],
    "flow": layout.FLOW,
    "usage": layout.USAGE,
    "sweep": layout.SWEEP,
    "hits": layout.HITS,
    "endpoint_drop_key": layout.ENDPOINT_DROP_KEY,
    "flow_event": layout.FLOW_EVENT,
    "host": layout.HOST,
}


@pytest.fixture(scope="module")
def btf() -> Btf:
    return Btf(loader.shipped_object())


def offsets_in(packing: struct.Struct) -> list[int]:
    """Where each value of a format starts: found by setting one after the other."""
    blank = packing.unpack(bytes(packing.size))
    found = []
    for place, value in enumerate(blank):
        marked = list(blank)
        marked[place] = b"\xff" * len(value) if isinstance(value, bytes) else 1 if value == 0 else value
        raw = packing.pack(*marked)
        first = next(at for at, byte in enumerate(raw) if byte)
        found.append(first)
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_struct_has_the_offsets_and_size_that_layout_py_packs(btf: Btf, name: str) -> None:
    size, fields = btf.struct(name)
    assert FORMATS[name].size == size
    ours = [field.offset for field in fields if field.name != "zero"]
    # A little-endian number's lowest byte is its first, so a value of 1 marks the start of its field.
    assert offsets_in(FORMATS[name]) == ours


def test_fields_stored_one_at_a_time_are_where_layout_py_says(btf: Btf) -> None:
    at = {field.name: field.offset for field in btf.struct("endpoint")[1]}
    assert at["generation"] == layout.GENERATION_AT
    assert at["ifindex"] == layout.IFINDEX_AT
    assert at["policy"] == layout.POLICY_AT
    assert at["epoch"] == layout.EPOCH_AT == layout.POLICY_AT + 4
    assert at["identity"] == layout.IDENTITY_AT
    assert at["tcp_established"] == layout.TIMERS_AT
    assert at["opened"] == layout.OPENED_AT
    assert at["cut"] == layout.CUT_AT
    assert {field.name: field.offset for field in btf.struct("policy")[1]}["rule_set"] == layout.RULE_SET_ID_AT


def test_flags_have_the_numbers_of_layout_py(btf: Btf) -> None:
    flags = btf.enum("endpoint_flags")
    assert [flags[name] for name in ("CHECK_SOURCE", "CLASSIC", "FILTERED", "PUBLIC6")] == [
        *(layout.CHECK_SOURCE, layout.CLASSIC, layout.FILTERED, layout.PUBLIC6)
    ]
    gates = btf.enum("gate_flags")
    assert gates["GATE_IDENTITIES"] == layout.GATE_IDENTITIES
    assert {4: gates["GATE_PREFIXES_V4"], 6: gates["GATE_PREFIXES_V6"]} == layout.GATE_PREFIXES
    for (family, protocol), flag in layout.GATE_ALL_PORTS.items():
        assert gates[f"GATE_ALL_{ {TCP: 'TCP', UDP: 'UDP'}[protocol] }_V{family}"] == flag
    adopted = btf.enum("adopted")
    assert [adopted[name] for name in ("OURS", "SOMEBODYS", "SOMEBODYS_CLSACT")] == [
        *(layout.OURS, layout.SOMEBODYS, layout.SOMEBODYS_CLSACT)
    ]


INNER = ("PASSED", "NO_FLOW")  # never told


def test_drop_reasons_have_the_numbers_of_the_model(btf: Btf) -> None:
    known = {name: value for name, value in btf.enum("drop_reason").items() if name not in INNER}
    assert known == {reason.name: reason.value for reason in DropReason if reason}


def test_maps_have_the_sizes_that_layout_py_counts_on() -> None:
    maps = loader.read_object(loader.shipped_object()).maps
    assert maps["endpoints"].max_entries == layout.MAX_SLOTS
    assert maps["policies"].max_entries == layout.MAX_POLICIES
    assert maps["intervals"].max_entries == layout.MAX_INTERVALS
    assert maps["rule_numbers"].max_entries == maps["rules"].max_entries == layout.MAX_RULES
    assert maps["devices"].max_entries == layout.MAX_NEAR


def test_a_truncated_object_is_refused_with_a_reason() -> None:
    whole = loader.shipped_object()
    for length in (0, 5, 64, len(whole) // 2):
        with pytest.raises(loader.ObjectMalformed):
            loader.read_object(whole[:length])


def test_an_object_of_the_other_byte_order_is_refused() -> None:
    whole = bytearray(loader.shipped_object())
    whole[5] ^= 3
    with pytest.raises(loader.ObjectMalformed, match="byte order"):
        loader.read_object(bytes(whole))


@pytest.mark.root
@pytest.mark.parametrize("fault", ["", "antispoof", "ingress"])
def test_the_kernel_takes_every_program_of_every_build(fault: str) -> None:
    spec = loader.read_object(loader.shipped_object(fault))
    maps = made_maps(spec)
    programs = loader.load_programs(spec, maps)
    assert set(programs) == {"from_endpoint", "to_endpoint", "from_gateway", "from_services", "sweep"}
    for fd in (*maps.values(), *programs.values()):
        os.close(fd)


@pytest.mark.root
def test_a_refused_program_brings_the_verifiers_reason() -> None:
    leaves_r0_unset = struct.pack("=BBhi", 0x95, 0, 0, 0)
    with pytest.raises(syscall.VerifierRefused, match="R0") as refusal:
        syscall.load_program(leaves_r0_unset, "GPL", "broken")
    assert refusal.value.program == "broken"


@pytest.mark.root
def test_no_program_costs_the_verifier_more_than_its_budget() -> None:
    spec = loader.read_object(loader.shipped_object())
    maps = made_maps(spec)
    assert spec.types is not None
    types = syscall.load_btf(spec.types.data)
    walked = {
        name: syscall.instructions_walked(
            loader.with_maps(each, maps), spec.license, name, each.kind, loader.function_types(each, types, spec)
        )
        for name, each in spec.programs.items()
    }
    for fd in (types, *maps.values()):
        os.close(fd)
    assert max(walked.values()) < BUDGET, walked


STACK = 512
"""Bytes for all functions of a chain of calls, each rounded up to 32: what kernels before 6.13 allow."""


def stack_of(code: bytes) -> int:
    """How deep a function reaches below its frame pointer: by stores and loads, and by addresses it makes of it."""
    deepest, copies = 0, set[int]()
    for opcode, registers, offset, immediate in struct.iter_unpack("=BBhi", code):
        to, of = (registers & 15, registers >> 4) if sys.byteorder == "little" else (registers >> 4, registers & 15)
        if (opcode & 7 in (2, 3) and to == 10) or (opcode & 7 == 1 and of == 10):
            deepest = min(deepest, offset)
        elif opcode == 0xBF:
            copies = copies | {to} if of == 10 else copies - {to}
        elif opcode == 0x07 and to in copies:
            deepest = min(deepest, immediate)
            copies -= {to}
    return max(32, -(deepest // 32) * 32)


def deepest_chain(program: loader.ProgramSpec) -> tuple[int, tuple[str, ...]]:
    """The most stack that any chain of calls takes, and which functions it is made of."""
    ends = [*(start for start, _ in program.functions[1:]), len(program.code)]
    parts = {start: (name, program.code[start:end]) for (start, name), end in zip(program.functions, ends, strict=True)}

    def below(start: int) -> tuple[int, tuple[str, ...]]:
        name, code = parts[start]
        called = [
            start + at + 8 + immediate * 8
            for at, (opcode, registers, _, immediate) in zip(
                range(0, len(code), 8), struct.iter_unpack("=BBhi", code), strict=True
            )
            if opcode == 0x85 and (registers >> 4 if sys.byteorder == "little" else registers & 15) == 1
        ]
        depth, names = max((below(each) for each in called), default=(0, ()))
        return depth + stack_of(code), (name, *names)

    return below(0)


@pytest.mark.parametrize("fault", ["", "antispoof", "ingress"])
def test_no_chain_of_calls_takes_more_stack_than_older_kernels_have(fault: str) -> None:
    spec = loader.read_object(loader.shipped_object(fault))
    deepest = [deepest_chain(program) for program in spec.programs.values()]
    assert [each for each in deepest if each[0] > STACK or len(each[1]) > 8] == []


def made_maps(spec: loader.ObjectSpec) -> dict[str, int]:
    return {
        name: syscall.create_map(each.kind, each.key_size, each.value_size, each.max_entries, each.flags, name)
        for name, each in spec.maps.items()
    }
