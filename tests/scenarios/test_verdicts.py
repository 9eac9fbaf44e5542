"""Every scenario, judged straight from the rules."""

import pytest

from scenarios import EVERY
from scenarios.worlds import Case, Scenario, cases, outcome, view
from stockade.policy.evaluate import evaluate

ROWS = [pytest.param(scenario, case, id=case.name) for scenario in EVERY for case in cases(scenario)]


@pytest.mark.parametrize(("scenario", "case"), ROWS)
def test_the_evaluator_gives_the_verdict(scenario: Scenario, case: Case) -> None:
    assert outcome(evaluate(view(scenario.world), case.packet, case.sender)) is case.expected
