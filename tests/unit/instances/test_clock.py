import struct

import pytest

from stockade.instances.network.clock import answer
from stockade.linux.clock import ClockState, clock_state

GOOD = ClockState(True, 0, 2_000_000, 100)
LOST = ClockState(False, 0, 16_000_000, 16_000_000)
NOW = 1_000_000_000 * 10**9 + 500_000_000


def question(version: int = 4, mode: int = 3, sent: int = 0x1122334455667788) -> bytes:
    return struct.pack("!BBbb36xQ", version << 3 | mode, 0, 6, 0, sent)


def fields(reply: bytes | None) -> tuple[int, ...]:
    assert reply is not None and len(reply) == 48
    return struct.unpack("!BBbbIIIQQQQ", reply)


def test_a_client_is_told_the_time_and_its_own_stamp_back() -> None:
    first, stratum, poll, _, _, dispersion, _, reference, originate, receive, transmit = fields(
        answer(question(), NOW - 10**9, NOW, GOOD)
    )
    assert (first >> 6, first >> 3 & 7, first & 7, poll) == (0, 4, 4, 6)
    assert 1 < stratum < 16
    assert dispersion == 2 << 16
    assert originate == 0x1122334455667788
    assert transmit == (1_000_000_000 + 2_208_988_800) << 32 | 1 << 31
    assert transmit - receive == 1 << 32
    assert reference == receive


def test_a_clock_that_nobody_disciplines_says_so() -> None:
    first, stratum, *_ = fields(answer(question(), NOW, NOW, LOST))
    assert (first >> 6, stratum) == (3, 0)


@pytest.mark.parametrize(("leap", "said"), [(1, 1), (-1, 2)])
def test_a_leap_second_is_announced(leap: int, said: int) -> None:
    assert fields(answer(question(), NOW, NOW, ClockState(True, leap, 0, 0)))[0] >> 6 == said


def test_an_old_client_is_answered_in_its_version() -> None:
    assert fields(answer(question(version=3), NOW, NOW, GOOD))[0] >> 3 & 7 == 3


@pytest.mark.parametrize(
    "data", [b"", bytes(47), question(mode=4), question(mode=6), question(mode=1), question(version=0), question(7)]
)
def test_whatever_is_no_clients_question_gets_no_answer(data: bytes) -> None:
    assert answer(data, NOW, NOW, GOOD) is None


def test_seconds_wrap_in_2036_as_the_protocol_has_it() -> None:
    era = (2**32 - 2_208_988_800) * 10**9
    *_, transmit = fields(answer(question(), era, era, GOOD))
    assert transmit == 0


def test_the_kernel_says_how_good_its_clock_is() -> None:
    state = clock_state()
    assert state.leap in (-1, 0, 1)
    assert state.largest_error >= 0
