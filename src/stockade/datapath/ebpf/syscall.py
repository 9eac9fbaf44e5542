"""bpf(2) and nothing more. Every refusal is an OSError that names the command and what it was about.

Attribute blocks are packed by hand: the kernel refuses a block in which a field it does not expect is set,
so each command sends exactly the fields it needs and the kernel reads the rest as zero.
"""

import ctypes
import errno
import os
import platform
import re
import struct
from dataclasses import dataclass

MAP_CREATE, LOOKUP, UPDATE, DELETE, NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET = 0, 1, 2, 3, 4, 5, 6, 7
TEST_RUN, INFO, BTF_LOAD = 10, 15, 18
LOOKUP_BATCH, UPDATE_BATCH, DELETE_BATCH = 24, 26, 27

HASH, ARRAY, PERCPU_ARRAY, LPM_TRIE, RINGBUF = 1, 2, 6, 11, 27
MMAPABLE = 1 << 10
ANY, NOEXIST, EXIST = 0, 1, 2
SCHED_CLS, SYSCALL = 3, 31
_SLEEPABLE = 1 << 4
_LOG_STEPS, _LOG_STATISTICS = 1, 4

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361}
_libc = ctypes.CDLL(None, use_errno=True)


class VerifierRefused(OSError):
    """The kernel would not load a program. `log` is its reasoning, of which the message has the end."""

    def __init__(self, code: int, program: str, log: str) -> None:
        tail = "\n".join(log.strip().splitlines()[-12:])
        super().__init__(code, f"loading program {program}: {os.strerror(code)}\n{tail}")
        self.program = program
        self.log = log


def bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """The system call: its result and the attribute block as the kernel left it."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(f"bpf(2) has no known number on {platform.machine()}")
    block = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(ctypes.c_long(number), command, block, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result, block.raw


def address_of(data: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Where the bytes are. The caller keeps them alive until the call is done."""
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(data)


def lookup_batch(
    fd: int,
    before: ctypes.Array[ctypes.c_char] | None,
    after: ctypes.Array[ctypes.c_char],
    keys: ctypes.Array[ctypes.c_char],
    values: ctypes.Array[ctypes.c_char],
    count: int,
    name: str,
) -> tuple[int, bool]:
    """How many elements of a map were read into the arrays, and whether they were the last."""
    block = ctypes.create_string_buffer(
        struct.pack(
            "=QQQQIIQQ",
            *(address_of(before) if before is not None else 0, address_of(after), address_of(keys)),
            *(address_of(values), count, fd, 0, 0),
        ),
        56,
    )
    result = _libc.syscall(ctypes.c_long(_NUMBERS[platform.machine()]), LOOKUP_BATCH, block, len(block))
    code = ctypes.get_errno() if result < 0 else 0
    if code not in (0, errno.ENOENT):
        raise OSError(code, f"reading map {name}: {os.strerror(code)}")
    return int(struct.unpack_from("=I", block, 32)[0]), code == errno.ENOENT


def create_map(kind: int, key_size: int, value_size: int, max_entries: int, flags: int, name: str) -> int:
    """A descriptor of a new map."""
    attributes = struct.pack("=IIIIIII16s", kind, key_size, value_size, max_entries, flags, 0, 0, name.encode()[:15])
    return bpf(MAP_CREATE, attributes, f"creating map {name}")[0]


def load_btf(types: bytes) -> int:
    """A descriptor of a type description."""
    return bpf(BTF_LOAD, struct.pack("=QQII", address_of(types), 0, len(types), 0), "loading type information")[0]


@dataclass(frozen=True, slots=True)
class FunctionTypes:
    """The type of each function of a program: where it starts, in instructions, and its number in a description."""

    btf: int
    functions: tuple[tuple[int, int], ...]


def load_program(
    code: bytes, program_license: str, name: str, kind: int = SCHED_CLS, types: FunctionTypes | None = None
) -> int:
    """A descriptor of a verified program. Raises VerifierRefused."""
    try:
        return _load(code, program_license, name, kind, types)
    except OSError as err:
        # Only a refusal is worth the log: writing it slows verification down.
        log = ctypes.create_string_buffer(1 << 24)
        try:
            return _load(code, program_license, name, kind, types, _LOG_STEPS, log)
        except OSError:
            raise VerifierRefused(err.errno or 0, name, log.value.decode(errors="replace")) from err


def instructions_walked(
    code: bytes, program_license: str, name: str, kind: int = SCHED_CLS, types: FunctionTypes | None = None
) -> int:
    """What verifying the program costs, in the measure of which the kernel allows a million."""
    log = ctypes.create_string_buffer(1 << 16)
    os.close(_load(code, program_license, name, kind, types, _LOG_STATISTICS, log))
    found = re.search(r"processed (\d+) insns", log.value.decode(errors="replace"))
    return int(found[1]) if found else 0


def _load(
    code: bytes,
    program_license: str,
    name: str,
    kind: int,
    types: FunctionTypes | None,
    level: int = 0,
    log: ctypes.Array[ctypes.c_char] | None = None,
) -> int:
    text = program_license.encode() + b"\0"
    attributes = struct.pack(
        "=IIQQIIQII16s",
        *(kind, len(code) // 8, address_of(code), address_of(text)),
        *((level, len(log), address_of(log)) if log is not None else (0, 0, 0)),
        *(0, _SLEEPABLE if kind == SYSCALL else 0, name.encode()[:15]),
    )
    records = b"".join(struct.pack("=II", *each) for each in types.functions) if types is not None else b""
    if types is not None:
        # ifindex and attach type, then the description, the size of a record, the records and their number
        attributes += struct.pack("=IIIIQI", 0, 0, types.btf, 8, address_of(records), len(types.functions))
    return bpf(PROG_LOAD, attributes, f"loading program {name}")[0]


def pin(fd: int, path: str) -> None:
    """Give a map or program a name in a bpffs."""
    text = path.encode() + b"\0"
    bpf(OBJ_PIN, struct.pack("=QI", address_of(text), fd), f"pinning {path}")


def open_pinned(path: str) -> int:
    """A descriptor of what is pinned there. FileNotFoundError when nothing is."""
    text = path.encode() + b"\0"
    return bpf(OBJ_GET, struct.pack("=QI", address_of(text), 0), f"opening {path}")[0]


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What a map is, apart from what is in it."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def map_info(fd: int) -> MapInfo:
    """What the kernel says the map behind this descriptor is."""
    info = ctypes.create_string_buffer(24)
    bpf(INFO, struct.pack("=IIQ", fd, len(info), address_of(info)), "reading map information")
    kind, _, key_size, value_size, max_entries, flags = struct.unpack("=6I", info.raw)
    return MapInfo(kind, key_size, value_size, max_entries, flags)


def program_id(fd: int) -> int:
    """The kernel's number of the program behind this descriptor."""
    info = ctypes.create_string_buffer(8)
    bpf(INFO, struct.pack("=IIQ", fd, len(info), address_of(info)), "reading program information")
    return int(struct.unpack("=II", info.raw)[1])


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program made of a packet. `nanoseconds` is the mean over all repetitions."""

    __test__ = False  # for pytest, which looks for tests by name

    action: int
    frame: bytes
    nanoseconds: int


def test_run(fd: int, frame: bytes, context: bytes = b"", repeat: int = 1) -> TestRun:
    """Run a tc program on a frame without sending it anywhere. `context`: the beginning of a __sk_buff."""
    out = ctypes.create_string_buffer(len(frame) + 256)
    attributes = struct.pack(
        "=IIIIQQIIIIQQ",
        *(fd, 0, len(frame), len(out), address_of(frame), address_of(out), repeat, 0),
        *(len(context), 0, address_of(context) if context else 0, 0),
    )
    _, block = bpf(TEST_RUN, attributes, "test run")
    _, action, _, size, _, _, _, duration = struct.unpack_from("=IIIIQQII", block)
    return TestRun(action, out.raw[:size], duration)


def run(fd: int, context: bytes) -> bytes:
    """Run a syscall program once; what it made of its context. OSError with what it returned, unless 0."""
    block = ctypes.create_string_buffer(context, len(context))
    attributes = struct.pack("=IIIIQQIIIIQQ", *(fd, 0, 0, 0, 0, 0, 0, 0), *(len(block), 0, address_of(block), 0))
    _, answer = bpf(TEST_RUN, attributes, "running a program")
    (returned,) = struct.unpack_from("=i", answer, 4)
    if returned:
        raise OSError(-returned, f"running a program: {os.strerror(-returned) if returned < 0 else returned}")
    return block.raw
