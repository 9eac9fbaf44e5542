"""Cilium, CVE-2024-28248: HTTP policies were applied most of the time. We judge no HTTP, but the lesson holds: what is
refused once is refused every time.

The same packets thousands of times, while rules change that do not concern them and policies flip between two that
agree about them: allowed by both always passes, refused by both never does.
"""

from collections import Counter

import pytest

from kernel.judging import KernelJudge
from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, view, world
from security.engines import simulated
from stockade.model.flow import DropReason
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy

GUESTS = (instance("a", "client"), instance("b", "server"))


def policy(other_port: int) -> HostPolicy:
    """Agrees with every other one about ports 80 and 81."""
    ingress = ["tcp/80 from client", f"tcp/{other_port} from client", f"udp/{other_port} from 10.0.0.0/8"]
    made = world(group("client"), group("server", ingress=ingress), *GUESTS)
    return compile_host(view(made))


POLICIES = [policy(port) for port in (1000, 2000, 3000)]
OF = world(group("client"), group("server"), *GUESTS)
SENDER = interface_id(OF, "a")
ALWAYS, NEVER = (
    parse_packet(f"tcp/{port}", private_address(OF, "a"), private_address(OF, "b")) for port in (80, 81)
)  # fmt: skip


def test_the_simulation_says_the_same_each_time() -> None:
    datapath = simulated(view(OF))
    told: Counter[tuple[bool, DropReason | None]] = Counter()
    for turn in range(60):
        datapath.apply(POLICIES[turn % 3])
        for _ in range(10):
            told[True, datapath.judge(ALWAYS, SENDER).reason] += 1
            told[False, datapath.judge(NEVER, SENDER).reason] += 1
    assert set(told) == {(True, None), (False, DropReason.NO_INGRESS_RULE)}


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_says_the_same_each_time(judge: KernelJudge) -> None:
    told: Counter[tuple[bool, DropReason]] = Counter()
    for turn in range(60):
        judge.enforce(POLICIES[turn % 3])
        for packet, given in zip((ALWAYS, NEVER), judge.judge_all([(ALWAYS, SENDER), (NEVER, SENDER)]), strict=True):
            told[packet is ALWAYS, given.reason] += 1
        again = judge.judge_all([(NEVER, SENDER)] * 20)
        told.update((False, given.reason) for given in again)
    assert told == {(True, DropReason.NONE): 60, (False, DropReason.NO_INGRESS_RULE): 60 * 21}
