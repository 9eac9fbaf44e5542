"""What packets did, as JSON: of one question, and of the expectations of a test file."""

from collections.abc import Sequence
from typing import Any

from stockade.api.native.documents import Documents, verdict_of
from stockade.model.probe import ProbeOutcome
from stockade.service.answers import Outcome
from stockade.service.probing import ProbedAnswer

MODES = ("model", "kernel", "both")


def probe_document(probed: ProbedAnswer) -> dict[str, Any]:
    """`agrees`: the kernel did with every packet what the engine said; null when no packet told."""
    return {
        "agrees": probed.agrees,
        "sent": probed.sent,
        "arrived": sum(one.result.outcome is ProbeOutcome.ARRIVED for one in probed.packets),
        "left_out": probed.left_out,
        "undecided": probed.undecided,
        "packets": [
            {
                "source": str(one.tried.packet.source),
                "destination": str(one.tried.packet.destination),
                "traffic": str(one.tried.stretch),
                "expected": "arrived" if one.tried.passed else "lost",
                "outcome": one.result.outcome.value,
                "agrees": one.agrees,
                "why": one.undecided,
            }
            for one in probed.packets
        ],
    }


def test_document(documents: Documents, outcome: Outcome, probed: ProbedAnswer | None, mode: str) -> dict[str, Any]:
    """One expectation. `by`: who said that it holds or not; `answer` explains what does not hold.

    In the mode `kernel` the packets decide, where any was sent. In both, engine and kernel must also agree.
    """
    expected = outcome.expected
    answer = outcome.answer if probed is None else probed.answer
    by_model = expected.holds(answer.reach)
    by_kernel = None if probed is None or probed.agrees is None else _arrived_as(probed, expected.accept)
    agrees = None if probed is None else probed.agrees
    said = {"model": by_model, "kernel": by_kernel, "both": by_model and by_kernel is not False}[mode]
    good = by_model if said is None else said
    return {
        "test": expected.test,
        "expected": "accept" if expected.accept else "deny",
        "source": expected.source,
        "destination": expected.destination,
        "traffic": str(expected.traffic),
        "ok": good and agrees is not False,
        "by": "model" if by_kernel is None else mode,
        "verdict": verdict_of(answer),
        "probe": None if probed is None else probe_document(probed),
        "answer": None if good and agrees is not False else documents.answer(answer),
    }


def tests_document(mode: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All expectations of a file. `disagreements`: those where kernel and engine differ, which is our bug."""
    return {
        "schema": 1,
        "mode": mode,
        "failed": sum(not result["ok"] for result in results),
        "disagreements": sum((result["probe"] or {}).get("agrees") is False for result in results),
        "results": list(results),
    }


def _arrived_as(probed: ProbedAnswer, accept: bool) -> bool:
    """Whether every packet sent did what was expected."""
    outcomes = [one.result.outcome for one in probed.packets if one.agrees is not None]
    return all((outcome is ProbeOutcome.ARRIVED) is accept for outcome in outcomes)
