"""No way through the programs needs more stack than the oldest kernel we claim gives: 512 bytes for all callers.

Kernel 6.1 rounds the stack of each function up to 32 bytes and counts the deepest chain of calls; newer kernels are
more generous, so that only this tells before an old one refuses the object.
"""

import struct
from collections.abc import Iterator, Mapping

import pytest

from stockade.datapath.ebpf import loader

LIMIT, ROUNDED_TO = 512, 32
INSTRUCTION = struct.Struct("<BBhi")
LOAD_REGISTER, STORES, ADD, MOVE, CALL = 1, (2, 3), 0x07, 0xBF, 0x85
FRAME = 10
"""The register that points at a function's own stack."""


def instructions(code: bytes) -> list[tuple[int, int, int, int, int]]:
    """Operation, destination, source, offset, number."""
    found = []
    for operation, registers, offset, number in INSTRUCTION.iter_unpack(code):
        found.append((operation, registers & 15, registers >> 4, offset, number))
    return found


def functions(code: bytes) -> Mapping[int, tuple[int, tuple[int, ...]]]:
    """By where it starts: the stack it uses, and where those that it calls start."""
    listed = instructions(code)
    calls = {place: place + 1 + each[4] for place, each in enumerate(listed) if each[0] == CALL and each[2] == 1}
    starts = sorted({0, *calls.values()})
    found = {}
    for start, end in zip(starts, [*starts[1:], len(listed)], strict=True):
        depth = max(_depths(listed[start:end]), default=0)
        found[start] = (depth, tuple(target for place, target in calls.items() if start <= place < end))
    return found


def _depths(body: list[tuple[int, int, int, int, int]]) -> Iterator[int]:
    copies: set[int] = set()
    for operation, destination, source, offset, number in body:
        kind = operation & 7
        if (kind in STORES and destination == FRAME) or (kind == LOAD_REGISTER and source == FRAME):
            yield -offset
        if operation == MOVE and source == FRAME:
            copies.add(destination)
        elif operation == ADD and destination in copies and number < 0:
            yield -number
            copies.discard(destination)
        elif kind not in STORES:
            copies.discard(destination)


def deepest(found: Mapping[int, tuple[int, tuple[int, ...]]], start: int) -> int:
    depth, calls = found[start]
    rounded = max(-(-depth // ROUNDED_TO) * ROUNDED_TO, ROUNDED_TO)
    return rounded + max((deepest(found, target) for target in calls), default=0)


@pytest.mark.parametrize("fault", ["", "antispoof", "ingress"])
def test_no_chain_of_calls_needs_more_stack_than_an_old_kernel_has(fault: str) -> None:
    programs = loader.read_object(loader.shipped_object(fault)).programs
    assert len(programs) >= 4
    needed = {name: deepest(functions(program.code), 0) for name, program in programs.items()}
    assert {name: depth for name, depth in needed.items() if depth > LIMIT} == {}
    assert max(needed.values()) > ROUNDED_TO  # it did find calls
