"""Moby, CVE-2025-54388: a reload of firewalld removed the rules that kept ports published on loopback from the network.

Our hooks are not in the reach of a packet filter: flushing, reloading and removing its whole rule set again and again,
with live connections and closed ports meanwhile, opens nothing and breaks nothing.
"""

import shutil
import subprocess

import pytest

from kernel.ebpf_host import EbpfHost
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, private_address, world

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-flush")]

WORLD = world(
    group("web", ingress=["tcp/80 from 10.0.0.0/8"]), group("client"), instance("web"), instance("client", "client")
)
RULES = "table inet theirs { chain forward { type filter hook forward priority 0; policy accept; } }"
RELOADS = (
    ["nft", "flush", "ruleset"],
    ["nft", "-f", "-"],
    ["nft", "delete", "table", "inet", "theirs"],
    ["iptables", "-F"],
    ["iptables", "-X"],
    ["iptables", "-t", "nat", "-F"],
    ["ip6tables", "-F"],
)


def reload(words: list[str]) -> None:
    subprocess.run(words, input=RULES, text=True, capture_output=True, check=False)


def test_a_foreign_flush_opens_and_breaks_nothing() -> None:
    tools = [words for words in RELOADS if shutil.which(words[0])]
    assert any(words[0] == "nft" for words in tools)
    with EbpfHost() as host:
        guests = guests_of(host, WORLD)
        host.datapath.apply(policy_of(WORLD))
        web, client = guests["web"], guests["client"]
        to = str(private_address(WORLD, "web"))
        listening = web.listen(80)
        web.listen(81)
        outgoing = client.connect(to, 80)
        accepted, _ = web.accept(listening)
        for _ in range(5):
            for words in tools:
                host.run(
                    lambda words=words: subprocess.run(words, input=RULES, text=True, capture_output=True, check=False)
                )
                outgoing.sendall(b"still here?")
                assert accepted.recv(64) == b"still here?"
            assert not client.can_connect(to, 81)
            assert client.can_connect(to, 80)
        assert host.datapath.audit().drift == ()
        outgoing.close()
        accepted.close()
