"""What the kernel knows about how good its clock is: adjtimex(2), read only."""

import ctypes
import os
import struct
from dataclasses import dataclass

# On 64 bits: modes, padding; offset, frequency, largest error, estimated error; status. The rest is not looked at.
_TIMEX = struct.Struct("=I4xqqqqi")
_SIZE = 256
_UNSYNCHRONISED = 0x0040
_INSERT, _DELETE = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ClockState:
    """`leap`: +1 or -1 when the day ends with a second more or less. Errors in microseconds."""

    synchronised: bool
    leap: int
    largest_error: int
    estimated_error: int


def clock_state() -> ClockState:
    """How it is now, as whoever disciplines the clock told the kernel."""
    buffer = ctypes.create_string_buffer(_SIZE)
    state = _libc.adjtimex(buffer)
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"adjtimex: {os.strerror(code)}")
    _, _, _, largest, estimated, status = _TIMEX.unpack_from(buffer.raw)
    leap = 1 if state == _INSERT else -1 if state == _DELETE else 0
    return ClockState(not status & _UNSYNCHRONISED, leap, largest, estimated)
