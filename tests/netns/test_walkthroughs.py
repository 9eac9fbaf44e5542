"""The two classic walk-throughs with real packets, played by the demo's own player; and builds that must fail."""

from pathlib import Path

import pytest

from stockade.daemon.demo.__main__ import play
from stockade.daemon.demo.mary import MICRO, add_group, authorize_group, one_more
from stockade.daemon.demo.script import Running, Spoof, Step, Story, Tool, launch, names, ways
from stockade.daemon.demo.stories import stories


def story(*steps: Step) -> tuple[Story]:
    """A story of a test's own, with the smallest image."""
    return (Story("test", "a test", "tester", ("micro",), steps),)


@pytest.mark.root
@pytest.mark.timeout(240)
def test_albert_lets_himself_in() -> None:
    tally = play(stories("albert"), say=print)
    assert tally.failed == []
    assert tally.checks >= 12


@pytest.mark.root
@pytest.mark.images
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mary_builds_three_tiers() -> None:
    tally = play(stories("mary"), say=print)
    assert tally.failed == []
    assert tally.checks >= 40


EVERYTHING_IN = story(
    Step(
        "T1", "one instance", (launch(f"ec2run {MICRO}", "RES1", names("I", 1), MICRO, "default"), Running(("I1",), 22))
    ),
    Step("T2", "nobody may reach it", (ways("workstation > I1 tcp/22 filtered"),)),
)
LET_IN = story(
    *EVERYTHING_IN[0].steps[:1],
    Step(
        "T2",
        "the workstation may, at once",
        (
            Tool(
                "ec2-authorize default -p 22",
                (
                    "GROUP | ∅ | default",
                    "PERMISSION | ∅ | default | ALLOWS | tcp | 22 | 22 | FROM | CIDR | 0.0.0.0/0",
                ),
            ),
            ways("workstation > I1 tcp/22 open"),
        ),
    ),
)
PRETENDED = story(
    Step(
        "T1",
        "a database that lets in the application only",
        (
            add_group("web", "web"),
            add_group("app", "app"),
            add_group("database", "database"),
            authorize_group("database", "app"),
            one_more(MICRO, "web", "W1"),
            one_more(MICRO, "app", "APP1"),
            one_more(MICRO, "database", "DB1"),
            Running(("W1", "APP1", "DB1"), 22),
        ),
    ),
    Step("T2", "web pretends to be the application", (Spoof("W1", "APP1", "DB1", 22),)),
)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("fault", "played"),
    [
        pytest.param("ingress", EVERYTHING_IN, id="ingress"),
        pytest.param("wait", LET_IN, id="wait"),
        pytest.param("antispoof", PRETENDED, id="antispoof"),
    ],
)
def test_a_faulty_build_is_caught_and_a_sound_one_is_not(fault: str, played: tuple[Story]) -> None:
    assert play(played, say=print).failed == []
    assert play(played, fault, say=print).failed == ["T2"]


def test_the_ids_on_file_are_those_of_the_walkthroughs() -> None:
    ids = (Path(__file__).parent / "step_ids.txt").read_text(encoding="ascii").split()
    steps = {step.rstrip("abcd") for step in ids}
    assert steps == {f"A{n}" for n in range(1, 6)} | {f"B{n}" for n in range(1, 15)} | {f"N{n}" for n in range(1, 7)}
