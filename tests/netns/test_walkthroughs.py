"""The two classic walk-throughs with real packets, played by the demo's own player; and builds that must fail."""

from pathlib import Path

import pytest

from stockade.daemon.demo.__main__ import play


@pytest.mark.root
@pytest.mark.timeout(240)
def test_albert_lets_himself_in() -> None:
    tally = play("albert", say=print)
    assert tally.failed == []
    assert tally.checks >= 12


@pytest.mark.root
@pytest.mark.images
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mary_builds_three_tiers() -> None:
    tally = play("mary", say=print)
    assert tally.failed == []
    assert tally.checks >= 40


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("fault", "caught_by"), [("ingress", "A3"), ("wait", "A5")])
def test_a_faulty_build_is_caught(fault: str, caught_by: str) -> None:
    assert caught_by in play("albert", fault, say=print).failed


def test_the_ids_on_file_are_those_of_the_walkthroughs() -> None:
    ids = (Path(__file__).parent / "step_ids.txt").read_text(encoding="ascii").split()
    steps = {step.rstrip("abcd") for step in ids}
    assert steps == {f"A{n}" for n in range(1, 6)} | {f"B{n}" for n in range(1, 15)} | {f"N{n}" for n in range(1, 7)}
