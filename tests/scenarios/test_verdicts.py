"""Every scenario, judged without root: straight from the rules, and from the compiled entries."""

from datetime import UTC, datetime

import pytest

from scenarios import EVERY
from scenarios.worlds import Case, Scenario, cases, outcome, view
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate

ROWS = [pytest.param(scenario, case, id=case.name) for scenario in EVERY for case in cases(scenario)]


def simulated(scenario: Scenario) -> SimulatedDatapath:
    """The scenario's host, with every interface attached."""
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    policy = compile_host(view(scenario.world))
    for endpoint in policy.endpoints:
        datapath.attach(endpoint, DeviceName(f"veth-{endpoint}"))
    datapath.apply(policy)
    return datapath


@pytest.mark.parametrize(("scenario", "case"), ROWS)
def test_the_evaluator_gives_the_verdict(scenario: Scenario, case: Case) -> None:
    assert outcome(evaluate(view(scenario.world), case.packet, case.sender)) is case.expected


@pytest.mark.parametrize(("scenario", "case"), ROWS)
def test_the_simulated_datapath_names_the_same_hops_and_rules(scenario: Scenario, case: Case) -> None:
    told = evaluate(view(scenario.world), case.packet, case.sender)
    assert simulated(scenario).judge(case.packet, case.sender) == told


def test_scenarios_have_names_of_their_own() -> None:
    names = [scenario.name for scenario in EVERY]
    assert len(set(names)) == len(names)
