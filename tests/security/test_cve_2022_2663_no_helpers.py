"""Linux, CVE-2022-2663: the connection tracker's helper for IRC could be fooled into opening ports; the same trick is
known of FTP, SIP and H.323 (NAT slipstreaming, 2020).

No payload opens a port: conversations that every helper would fall for leave the ports they name closed. We track
flows ourselves, so the kernel's tracker and its helpers are neither loaded nor fed.
"""

import re
from pathlib import Path

import pytest

from kernel.ebpf_host import EbpfHost
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, private_address, world

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))
PORT = 5555
WORLD = world(
    group("server", ingress=["tcp/21 from 10.0.0.0/8", "tcp/6667 from 10.0.0.0/8", "tcp/5060 from 10.0.0.0/8"]),
    group("client", ingress=[]),
    instance("server"),
    instance("client", "client"),
)


def tricks(address: str) -> dict[int, tuple[bytes, ...]]:
    """By port: what a helper would read as `let somebody in at address:PORT`."""
    comma, number = address.replace(".", ","), int.from_bytes(bytes(map(int, address.split("."))), "big")
    high, low = divmod(PORT, 256)
    return {
        21: (f"PORT {comma},{high},{low}\r\n".encode(), f"EPRT |1|{address}|{PORT}|\r\n".encode()),
        6667: (
            f"PRIVMSG a :\1DCC SEND f {number} {PORT} 9\1\r\n".encode(),
            f"\1DCC CHAT chat {number} {PORT}\1".encode(),
        ),
        5060: (f"REGISTER sip:a SIP/2.0\r\nContact: <sip:a@{address}:{PORT}>\r\nExpires: 60\r\n\r\n".encode(),),
    }


@pytest.mark.root
@pytest.mark.xdist_group("kernel-helpers")
def test_no_conversation_opens_a_port() -> None:
    with EbpfHost() as host:
        guests = guests_of(host, WORLD)
        host.datapath.apply(policy_of(WORLD))
        client, server = guests["client"], guests["server"]
        client.listen(PORT)
        for port, said in tricks(str(private_address(WORLD, "client"))).items():
            listening = server.listen(port)
            outgoing = client.connect(str(private_address(WORLD, "server")), port)
            accepted, _ = server.accept(listening)
            for words in said:
                outgoing.sendall(words)
                assert accepted.recv(4096) == words
                accepted.sendall(b"200 ok\r\n")
                assert outgoing.recv(64) == b"200 ok\r\n"
                assert not server.can_connect(str(private_address(WORLD, "client")), PORT)
            outgoing.close()
            accepted.close()
        assert not server.can_connect(str(private_address(WORLD, "client")), PORT)
        # The kernel's own tracker, where this machine has one, has seen nothing of it.
        tracked = Path("/proc/net/nf_conntrack")
        seen = host.run(lambda: tracked.read_text(encoding="ascii") if tracked.exists() else "")
        assert not re.search(r"dport=(21|6667|5060|5555)\b", seen)


def test_nothing_of_ours_loads_a_tracker_or_a_helper() -> None:
    wanted = re.compile(
        r"nf_conntrack_(ftp|irc|sip|h323|pptp|tftp|amanda|sane)|nf_conntrack_helper|modprobe|init_module"
    )
    found = [f"{path}: {line}" for path in SOURCES for line in path.read_text().splitlines() if wanted.search(line)]
    assert found == []
