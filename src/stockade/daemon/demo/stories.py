"""The stories by name, and the ids of all their steps."""

from dataclasses import replace

from stockade.daemon.demo import albert, mary, refusals
from stockade.daemon.demo.script import Story

# The negative table speaks of Mary's groups, so it closes her story.
STORIES = {
    "albert": albert.STORY,
    "mary": replace(mary.STORY, steps=(*mary.STORY.steps, *refusals.STEPS)),
}


def stories(name: str | None) -> tuple[Story, ...]:
    """One story, or all of them in order."""
    return tuple(STORIES.values()) if name is None else (STORIES[name],)


def step_ids() -> tuple[str, ...]:
    """Every step's id, in the order of play."""
    return tuple(step.id for story in STORIES.values() for step in story.steps)
