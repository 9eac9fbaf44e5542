"""What ever broke something never does again, and the fuzzers themselves run: short here, long by `./dev fuzz`."""

import argparse
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

import pytest

from fuzz import parser, policy
from fuzz.engines import START, agree, said
from fuzz.frames_alone import MUTE, alone, frames_of_corpus, random_frames, worlds_of_corpus
from fuzz.policy import Tally, play
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.policy.compile import compile_host

if TYPE_CHECKING:
    from fuzz.kernel_engine import KernelEngine

SHORT = 100_000


@pytest.fixture(scope="module")
def kernel() -> "Iterator[KernelEngine]":
    from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

    with KernelEngine() as engine:
        yield engine


@pytest.mark.parametrize(("seed", "number"), worlds_of_corpus())
def test_worlds_that_broke_something(seed: int, number: int) -> None:
    assert play(Random(f"{seed}/{number}"), {}, Tally()) == []


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize(("seed", "number"), worlds_of_corpus())
def test_worlds_that_broke_something_in_the_kernel(kernel: "KernelEngine", seed: int, number: int) -> None:
    assert play(Random(f"{seed}/{number}"), {"kernel": kernel}, Tally()) == []


def test_frames_that_broke_something_and_others_by_chance() -> None:
    chance, view = Random("frames"), alone()
    frames = [*frames_of_corpus(), *(frame for _ in range(1500) for frame in random_frames(chance, view))]
    datapath = SimulatedDatapath(START)
    datapath.apply(compile_host(view))
    datapath.attach(MUTE, DeviceName("veth-mute"))
    for sent in parser.wanted(frames):
        given = said(datapath.send_frame(sent.frame, MUTE))
        assert agree(said(sent.told), given, whose=True), (sent.frame.hex(), sent.told, given)


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_reads_frames_as_the_slow_reader_does() -> None:
    judgements, disagreements = parser.run(argparse.Namespace(seconds=20.0, judgements=10_000, seed=1))
    assert (disagreements, judgements >= 10_000) == (0, True)


def asked(judgements: int) -> argparse.Namespace:
    return argparse.Namespace(seconds=600.0, judgements=judgements, worlds=None, seed=2026, only=None)


def test_a_few_worlds_by_chance() -> None:
    tally = policy.run(asked(5_000), {})
    assert tally.disagreements == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_worlds_by_chance_have_the_mix_that_they_should() -> None:
    tally = policy.run(asked(SHORT), {})
    assert (tally.disagreements, tally.off_balance) == (0, [])
    assert tally.judgements >= SHORT


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("kernel-judge")
def test_many_worlds_by_chance_in_the_kernel_too(kernel: "KernelEngine") -> None:
    tally = policy.run(asked(SHORT), {"kernel": kernel})
    assert (tally.disagreements, tally.off_balance) == (0, [])
    assert tally.judgements >= SHORT
