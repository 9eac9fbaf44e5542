"""The stories as data: every step of the walk-throughs is there, under its id."""

from pathlib import Path

from stockade.daemon.demo.script import Step, Together, Tool, Ways
from stockade.daemon.demo.stories import STORIES, step_ids, stories

WRITTEN_DOWN = Path(__file__).parents[2] / "netns" / "step_ids.txt"


def checks_of(step: Step) -> int:
    """The least number of assertions that a step makes."""
    sizes = {Together: lambda action: len(action.scans), Ways: lambda action: len(action.ways)}
    return sum(sizes.get(type(action), lambda _action: 1)(action) for action in step.actions)


def test_the_players_steps_are_those_written_down() -> None:
    assert list(step_ids()) == WRITTEN_DOWN.read_text(encoding="ascii").split()


def test_ids_are_not_used_twice() -> None:
    assert len(set(step_ids())) == len(step_ids())


def test_the_stories_assert_at_least_forty_things() -> None:
    assert sum(checks_of(step) for story in STORIES.values() for step in story.steps) >= 40


def test_every_step_asserts_something() -> None:
    assert all(checks_of(step) for story in STORIES.values() for step in story.steps)


def test_a_story_can_be_played_alone() -> None:
    assert [story.name for story in stories("albert")] == ["albert"]
    assert [story.name for story in stories(None)] == ["albert", "mary"]


def test_the_truth_table_of_two_virtual_networks_is_whole() -> None:
    step = next(step for step in STORIES["mary"].steps if step.id == "B12")
    ways = [way for action in step.actions if isinstance(action, Ways) for way in action.ways]
    assert len({(way.source, way.target) for way in ways}) == 12
    assert sorted(way.verdict for way in ways) == ["filtered"] * 8 + ["open"] * 4


def test_every_command_of_the_negative_table_is_played() -> None:
    refused = {action.refused for step in STORIES["mary"].steps for action in step.actions if isinstance(action, Tool)}
    assert refused >= {
        "Client.InvalidGroup.NotFound:",
        "Client.InvalidGroup.Duplicate:",
        "Client.InvalidGroup.InUse:",
        "Client.InvalidGroup.Reserved:",
        "Client.InvalidInstanceID.NotFound:",
    }
