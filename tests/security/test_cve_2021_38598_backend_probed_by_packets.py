"""Neutron with ebtables-nft, CVE-2021-38598: every rule against spoofing was accepted by the new back end, and none of
them worked.

A back end that says `ok` and does nothing is found before the first instance starts: the packet proof, which `up`
plays with real packets, fails with programs that let in what no rule allows, and holds with ours.
"""

import pytest

from kernel.ebpf_host import EbpfHost
from stockade.daemon.problems import Problem
from stockade.daemon.proof import Proof, prove
from stockade.model.host_view import HostView
from stockade.model.ids import HostId
from stockade.model.journal import NoJournal
from stockade.policy.compile import compile_host

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-proof")]


def proof_of(host: EbpfHost) -> Proof:
    """As `up` asks for it, in the host's own namespace."""
    target = host.datapath._target
    found: Proof = host.run(lambda: prove(target, compile_host, HostView(HostId("host-1")), "pp", NoJournal()))
    return found


def test_programs_that_enforce_are_proven_by_a_packet_each_way() -> None:
    with EbpfHost() as host:
        found = proof_of(host)
        assert (found.passed, found.dropped >= 1) == (1, True)


def test_programs_that_let_everything_in_are_found_out() -> None:
    with EbpfHost(fault="ingress") as host, pytest.raises(Problem, match="a packet that no rule allows arrived"):
        proof_of(host)
