"""Kernel maps as Python sees them: bytes in, bytes out. What the bytes mean is layout.py's business."""

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stockade.datapath.ebpf import syscall


class Map:
    """A map of single values: hash, array, longest prefix. Every refusal names the map."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.info = syscall.map_info(fd)
        self._key = ctypes.create_string_buffer(self.info.key_size)
        self._value = ctypes.create_string_buffer(self.info.value_size)
        # One block for all calls on single elements: descriptor, padding, key, value, flags.
        self._at = struct.pack("=IIQQ", fd, 0, ctypes.addressof(self._key), ctypes.addressof(self._value))

    def get(self, key: bytes) -> bytes | None:
        """The value, None when the key is not there."""
        self._key.raw = key
        try:
            syscall.bpf(syscall.LOOKUP, self._at, self.name)
        except OSError as err:
            if err.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw

    def put(self, key: bytes, value: bytes, flags: int = syscall.ANY) -> None:
        """Set one value. In a hash or trie a reader sees the old value or the new one, whole."""
        self._key.raw = key
        self._value.raw = value
        syscall.bpf(syscall.UPDATE, self._at + struct.pack("=Q", flags), f"writing to map {self.name}")

    def remove(self, key: bytes) -> None:
        """Take one key away. No effect when it is not there."""
        self._key.raw = key
        try:
            # A delete that carries a value's address is refused, so it gets a shorter block.
            syscall.bpf(syscall.DELETE, self._at[:16], f"deleting from map {self.name}")
        except OSError as err:
            if err.errno != errno.ENOENT:
                raise

    def put_all(self, items: Mapping[bytes, bytes]) -> None:
        """Set many values, in as few calls as the kernel takes."""
        if len(items) < 4:
            for key, value in items.items():
                self.put(key, value)
            return
        self._put_batch(items)

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """Take many keys away; those that are not there are no error."""
        if len(keys) < 4:
            for key in keys:
                self.remove(key)
            return
        try:
            self._remove_batch(keys)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                raise
            for key in keys:
                self.remove(key)

    def _put_batch(self, items: Mapping[bytes, bytes]) -> None:
        self._batch(syscall.UPDATE_BATCH, b"".join(items.keys()), b"".join(items.values()), len(items))

    def _remove_batch(self, keys: Sequence[bytes]) -> None:
        self._batch(syscall.DELETE_BATCH, b"".join(keys), b"", len(keys))

    def _batch(self, command: int, keys: bytes, values: bytes, count: int) -> None:
        attributes = struct.pack(
            "=QQQQIIQQ",
            *(0, 0, syscall.address_of(keys), syscall.address_of(values) if values else 0),
            *(count, self.fd, 0, 0),
        )
        syscall.bpf(command, attributes, f"writing to map {self.name}")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything, in no order. Elements that come or go meanwhile may be missed; for maps we alone write."""
        cursor: bytes | None = None
        while True:
            found, cursor = self.some(cursor)
            yield from found
            if cursor is None:
                return

    def some(self, cursor: bytes | None, count: int = 4096) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """About so many elements from this place on (None: the beginning), and the place behind them (None: the end).

        An element that was there all the time is among them once.
        """
        key_size, value_size = self.info.key_size, self.info.value_size
        keys = ctypes.create_string_buffer(key_size * count)
        values = ctypes.create_string_buffer(value_size * count)
        # The place is the kernel's business: a bucket's number, or the last key.
        before = ctypes.create_string_buffer(cursor or b"", max(key_size, 8))
        after = ctypes.create_string_buffer(max(key_size, 8))
        read, is_end = syscall.lookup_batch(
            self.fd, before if cursor is not None else None, after, keys, values, count, self.name
        )
        raw_keys, raw_values = keys.raw, values.raw
        found = [
            (raw_keys[n * key_size : (n + 1) * key_size], raw_values[n * value_size : (n + 1) * value_size])
            for n in range(read)
        ]
        return found, None if is_end else after.raw

    def __iter__(self) -> Iterator[bytes]:
        """All keys, in no order."""
        following = ctypes.create_string_buffer(self.info.key_size)
        current: ctypes.Array[ctypes.c_char] | None = None
        while True:
            attributes = struct.pack(
                "=IIQQ",
                *(self.fd, 0, ctypes.addressof(current) if current is not None else 0, ctypes.addressof(following)),
            )
            try:
                syscall.bpf(syscall.NEXT_KEY, attributes, f"reading map {self.name}")
            except OSError as err:
                if err.errno == errno.ENOENT:
                    return
                raise
            yield following.raw
            current = ctypes.create_string_buffer(following.raw, self.info.key_size)

    def close(self) -> None:
        os.close(self.fd)


class KeptMap(Map):
    """A map that we alone write and remember, so that what is in it can be held against what should be."""

    def __init__(self, name: str, fd: int) -> None:
        super().__init__(name, fd)
        self.expected: dict[bytes, bytes] = dict(self.items())
        self._round = _Round()

    def put(self, key: bytes, value: bytes, flags: int = syscall.ANY) -> None:
        super().put(key, value, flags)
        self.expected[key] = value

    def remove(self, key: bytes) -> None:
        super().remove(key)
        self.expected.pop(key, None)

    def _put_batch(self, items: Mapping[bytes, bytes]) -> None:
        super()._put_batch(items)
        self.expected.update(items)

    def _remove_batch(self, keys: Sequence[bytes]) -> None:
        super()._remove_batch(keys)
        for key in keys:
            self.expected.pop(key, None)

    def repair(self, count: int) -> tuple[int, list[str]]:
        """Hold about so many elements against what should be there and put right what differs: elements looked at, and
        a line for each difference. The next call goes on where this one stopped; after the last comes the first.
        """
        around = self._round
        if around.unseen is None:
            around.unseen = set(self.expected)
        found, around.cursor = self.some(around.cursor, count)
        said = []
        for key, value in found:
            around.unseen.discard(key)
            wanted = self.expected.get(key)
            if wanted != value:
                said.append(f"map {self.name}: {key.hex()} {'is wrong' if wanted else 'belongs to nobody'}")
                self._put_right(key)
        if around.cursor is None:
            for key in around.unseen:
                # It may have been there and been missed, or have gone since the round began. A trie cannot be asked:
                # it answers with the next shorter prefix.
                if key in self.expected and (self._is_trie or self.get(key) is None):
                    said.append(f"map {self.name}: {key.hex()} is missing")
                    self._put_right(key)
            self._round = _Round()
        return len(found), said

    @property
    def _is_trie(self) -> bool:
        return self.info.kind == syscall.LPM_TRIE

    @property
    def is_repaired(self) -> bool:
        """Whether the last call of `repair` came to the end."""
        return self._round.unseen is None

    def _put_right(self, key: bytes) -> None:
        wanted = self.expected.get(key)
        if wanted is None:
            super().remove(key)
        else:
            super().put(key, wanted)


@dataclass(slots=True)
class _Round:
    """How far a repair has come."""

    cursor: bytes | None = None
    unseen: set[bytes] | None = None


class PerCpuMap:
    """An array with one value a CPU, which programs add to without asking anyone."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.info = syscall.map_info(fd)
        self._stride = (self.info.value_size + 7) & ~7
        self._key = ctypes.create_string_buffer(4)
        self._values = ctypes.create_string_buffer(self._stride * possible_cpus())
        self._at = struct.pack("=IIQQ", fd, 0, ctypes.addressof(self._key), ctypes.addressof(self._values))

    def get(self, index: int) -> list[bytes]:
        """The value of each CPU."""
        self._key.raw = struct.pack("=I", index)
        syscall.bpf(syscall.LOOKUP, self._at, f"reading map {self.name}")
        raw, size = self._values.raw, self.info.value_size
        return [raw[start : start + size] for start in range(0, len(raw), self._stride)]

    def close(self) -> None:
        os.close(self.fd)


class SharedArray:
    """An array mapped into our memory: read and written without system calls, one aligned field at a time."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.info = syscall.map_info(fd)
        self.stride = (self.info.value_size + 7) & ~7
        self.memory = mmap.mmap(fd, _pages(self.stride * self.info.max_entries))

    def get(self, index: int) -> bytes:
        start = self._start(index)
        return self.memory[start : start + self.info.value_size]

    def whole(self) -> bytes:
        """All elements, one behind the other."""
        return self.memory[: self.stride * self.info.max_entries]

    def put(self, index: int, value: bytes) -> None:
        """Not atomic: for elements that no packet can reach yet."""
        start = self._start(index)
        self.memory[start : start + self.info.value_size] = value

    def store32(self, index: int, offset: int, value: int) -> None:
        """One aligned 32-bit field; a packet sees the old value or the new one."""
        ctypes.c_uint32.from_buffer(self.memory, self._start(index) + offset).value = value

    def store64(self, index: int, offset: int, value: int) -> None:
        """One aligned 64-bit field; a packet sees the old value or the new one."""
        ctypes.c_uint64.from_buffer(self.memory, self._start(index) + offset).value = value

    def _start(self, index: int) -> int:
        if not 0 <= index < self.info.max_entries:
            raise IndexError(f"map {self.name} has no element {index}")
        return index * self.stride

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


class RuleHitTable:
    """What each rule let through: one stretch of an array for each CPU, which only that CPU adds to."""

    def __init__(self, array: SharedArray, rules: int) -> None:
        self._array = array
        self._rules = rules
        self._cpus = array.info.max_entries // rules

    def get(self, place: int) -> tuple[int, int]:
        """Packets and bytes, over all CPUs."""
        packets = size = 0
        for cpu in range(self._cpus):
            counted = struct.unpack_from("=QQ", self._array.memory, (cpu * self._rules + place) * self._array.stride)
            packets, size = packets + counted[0], size + counted[1]
        return packets, size

    def clear(self, place: int) -> None:
        """Back to zero on every CPU."""
        for cpu in range(self._cpus):
            self._array.put(cpu * self._rules + place, bytes(self._array.info.value_size))


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def possible_cpus() -> int:
    """CPUs that could ever be there; the kernel keeps a value for each."""
    last = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip()
    return int(last.replace("-", ",").rpartition(",")[2]) + 1
