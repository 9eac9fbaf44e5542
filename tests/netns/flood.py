"""A program that floods, or answers a flood.

    python -m netns.flood syn|udp SOURCE TARGET PORT SECONDS
    python -m netns.flood echo ADDRESS PORT

A SYN flood opens connections and never finishes one. A two-packet UDP flood is worse: each flow has a question and an
answer, so none of them looks half-open. Every packet is of another flow; what was sent is printed at the end.
"""

import itertools
import socket
import sys
import time
from ipaddress import IPv4Address

from netns.live_traffic import SYN, tcp, udp

_PACKETS_A_SECOND = {"syn": 20_000, "udp": 3_000}  # of datagrams as many as are answered before the next few come
_BURST = 20


def flood(kind: str, source: IPv4Address, target: IPv4Address, port: int, seconds: float) -> int:
    """How many packets were sent."""
    make = {
        "syn": lambda sport: tcp(source, target, sport, port, SYN),
        "udp": lambda sport: udp(source, target, sport, port),
    }
    packets = [make[kind](sport) for sport in range(1024, 65536)]
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        began = time.monotonic()
        for packet in itertools.cycle(packets):
            if sent % _BURST == 0:
                ahead_s = sent / _PACKETS_A_SECOND[kind] - (time.monotonic() - began)
                if time.monotonic() - began > seconds:
                    return sent
                time.sleep(max(ahead_s, 0))
            raw.sendto(packet, (str(target), 0))
            sent += 1
    return sent


def echo(address: str, port: int) -> None:
    """Until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
        answering.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        answering.bind((address, port))
        print("ready", flush=True)
        while True:
            said, who = answering.recvfrom(64)
            answering.sendto(said, who)


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(sys.argv[2], int(sys.argv[3]))
    else:
        kind, source, target, port, seconds = sys.argv[1:]
        print(flood(kind, IPv4Address(source), IPv4Address(target), int(port), float(seconds)))
