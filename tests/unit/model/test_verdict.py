"""A verdict passes when every hop did, and its reason is the first one given."""

from stockade.model.flow import DropReason, Gate, Hop, Verdict
from stockade.model.ids import NetworkInterfaceId

ONE, OTHER = NetworkInterfaceId("eni-01000001"), NetworkInterfaceId("eni-01000002")


def test_a_verdict_passes_when_both_gates_do() -> None:
    verdict = Verdict((Hop(Gate.EGRESS, ONE, rule=1), Hop(Gate.INGRESS, OTHER, rule=2)))
    assert verdict.passed
    assert verdict.reason is None


def test_one_gate_is_enough_to_stop_a_packet() -> None:
    verdict = Verdict((Hop(Gate.EGRESS, ONE, rule=1), Hop(Gate.INGRESS, OTHER, reason=DropReason.NO_INGRESS_RULE)))
    assert not verdict.passed
    assert verdict.reason is DropReason.NO_INGRESS_RULE
