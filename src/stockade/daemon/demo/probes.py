"""Looking at the network as a person does: nmap, telnet and ssh, and plain attempts to connect.

What the programs print is read into values here; what it should be is the story's business.
"""

import os
import re
import select
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from stockade.daemon.demo.script import CLOSED, FILTERED, OPEN
from stockade.daemon.demo.world import Place
from stockade.linux.namespaces import socket_in

ATTEMPT_S = 3.0  # a SYN that was lost is sent again after one second
SCAN_S = 120.0
_ETH_P_IP = 0x0800


@dataclass(frozen=True, slots=True)
class Scanned:
    """What nmap says: open ports as it words them (`22/tcp ssh`), and how many others are in which state."""

    open: tuple[str, ...]
    others: dict[str, int]

    @property
    def total(self) -> int:
        return len(self.open) + sum(self.others.values())


def scan_command(host: str, ports: str) -> list[str]:
    """The walk-throughs' own spelling of the command."""
    return ["nmap", "-P0", f"-p{ports}", host]


def read_scan(output: str) -> Scanned:
    """nmap's report, in the wording of 7.x or of the walk-throughs' 3.x."""
    found = re.findall(r"^(\d+/\w+)\s+(\S+)\s+(\S+)", output, re.MULTILINE)
    others: dict[str, int] = {}
    for _, state, _ in found:
        if state != OPEN:
            others[state] = others.get(state, 0) + 1
    hidden = re.findall(r"(\d+) (filtered|closed|unfiltered)(?: \w+)? ports", output)
    hidden += re.findall(r"All (\d+) scanned ports on .* are:? (filtered|closed)", output)
    hidden += re.findall(r"The (\d+) ports scanned but not shown.* in state: (\w+)", output)
    for count, state in hidden:
        others[state] = others.get(state, 0) + int(count)
    return Scanned(tuple(f"{port} {service}" for port, state, service in found if state == OPEN), others)


def telnet(place: Place, command: Sequence[str], seconds: float = 20) -> str:
    """What telnet printed until it was connected, or gave up. Its input stays open meanwhile: it would leave."""
    process = place.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = b""
    end = time.monotonic() + seconds
    assert process.stdout is not None
    while b"Escape character is" not in output or not output.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 4096) if readable else b""
        if not chunk:
            break
        output += chunk
    process.kill()
    process.communicate()
    return output.decode(errors="replace").replace("\r", "")


SSH_CONFIGURATION = """\
IdentityFile {key}
IdentitiesOnly yes
BatchMode yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
ConnectTimeout 4
"""


def ssh_command(configuration: str, host: str, *command: str) -> list[str]:
    """A login as root that asks nothing and remembers nothing."""
    return ["ssh", "-F", configuration, f"root@{host}", *command]


def attempt(network: int, address: str, what: str, seconds: float = ATTEMPT_S) -> str:
    """Try tcp/22, udp/53 or icmp from a network namespace: open, closed (somebody said no) or filtered."""
    protocol, _, port = what.partition("/")
    if protocol == "icmp":
        return _ping(network, address, seconds)
    if protocol == "udp":
        return _udp(network, (address, int(port)), seconds)
    return connect(network, (address, int(port)), seconds)


def connect(network: int, address: tuple[str, int], seconds: float) -> str:
    """One TCP connection."""
    with socket_in(network, socket.AF_INET, socket.SOCK_STREAM) as attempt_socket:
        attempt_socket.settimeout(seconds)
        try:
            attempt_socket.connect(address)
        except ConnectionRefusedError:
            return CLOSED
        except TimeoutError:
            return FILTERED
        return OPEN


def _udp(network: int, address: tuple[str, int], seconds: float) -> str:
    """A datagram: an answer is open, an ICMP error closed, nothing filtered."""
    with socket_in(network, socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(seconds)
        probe.connect(address)
        probe.send(b"?")
        try:
            probe.recv(1)
        except ConnectionRefusedError:
            return CLOSED
        except TimeoutError:
            return FILTERED
        return OPEN


def _ping(network: int, address: str, seconds: float) -> str:
    with socket_in(network, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as probe:
        probe.connect((address, 0))
        body = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
        probe.send(body[:2] + checksum(body).to_bytes(2, "big") + body[4:])
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            probe.settimeout(left)
            try:
                packet = probe.recv(1500)
            except TimeoutError:
                break
            if packet[20] == 0:
                return OPEN
        return FILTERED


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(source: str, target: str, source_port: int, port: int) -> bytes:
    """An IPv4 packet that opens a TCP connection, with whatever source address."""
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 64240, 0, 0)
    check = checksum(addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + check.to_bytes(2, "big") + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + tcp


class Sniffer:
    """Every IPv4 packet that arrives in a network namespace, from the moment this is made."""

    def __init__(self, network: int) -> None:
        self._socket = socket_in(network, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.setblocking(False)

    def syns_from(self, source: str, port: int, wait_s: float) -> int:
        """How many SYNs from that address to that port came; waits for the first, no longer than `wait_s`."""
        seen = 0
        end = time.monotonic() + wait_s
        wanted = socket.inet_aton(source)
        while not seen and (left := end - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            packet = self._socket.recv(2048)
            start = (packet[0] & 15) * 4
            tcp = packet[start:]
            is_syn = packet[9] == socket.IPPROTO_TCP and len(tcp) > 13 and tcp[13] & 0x12 == 2
            if is_syn and packet[12:16] == wanted and int.from_bytes(tcp[2:4], "big") == port:
                seen += 1
        return seen

    def close(self) -> None:
        self._socket.close()


def send_raw(network: int, packets: Sequence[bytes], target: str) -> None:
    """Send whole IPv4 packets from a network namespace, as its root can."""
    with socket_in(network, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        for packet in packets:
            sender.sendto(packet, (target, 0))
