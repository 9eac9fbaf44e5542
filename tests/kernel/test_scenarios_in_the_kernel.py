"""Every scenario judged by the programs in the kernel, and worlds by chance judged by all three engines."""

from collections.abc import Iterator
from random import Random

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios import EVERY
from scenarios.random_worlds import random_history, random_packet
from scenarios.worlds import Scenario, cases, view
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.evaluate import evaluate

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-judge")]
SEEDS = range(12)


@pytest.fixture(scope="module")
def judge() -> Iterator[KernelJudge]:
    with KernelJudge() as made:
        yield made


@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
def test_the_kernel_gives_every_verdict_of_the_table(judge: KernelJudge, scenario: Scenario) -> None:
    judge.enforce(compile_host(view(scenario.world)))
    given = {case.name: judge.judge(case.packet, case.sender).reason for case in cases(scenario)}
    assert given == {case.name: case.expected for case in cases(scenario)}


@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
def test_the_kernel_names_the_same_gates_and_rules(judge: KernelJudge, scenario: Scenario) -> None:
    seen = view(scenario.world)
    judge.enforce(compile_host(seen))
    given = {case.name: judge.judge(case.packet, case.sender) for case in cases(scenario)}
    assert given == {case.name: ruling(evaluate(seen, case.packet, case.sender)) for case in cases(scenario)}


@pytest.mark.parametrize("seed", SEEDS)
def test_rules_and_kernel_agree_through_a_history_of_changes(judge: KernelJudge, seed: int) -> None:
    chance = Random(f"kernel/{seed}")
    compiler = Compiler()
    for seen in random_history(chance, length=3):
        judge.enforce(compiler(seen))
        packets = [random_packet(chance, seen) for _ in range(40)]
        told = [ruling(evaluate(seen, packet, sender)) for packet, sender in packets]
        given = judge.judge_all(packets)
        assert list(zip(packets, given, strict=True)) == list(zip(packets, told, strict=True))
