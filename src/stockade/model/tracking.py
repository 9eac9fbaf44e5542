"""How long an interface remembers an idle flow."""

from dataclasses import dataclass

from stockade.model.errors import ParameterInvalid

TCP_ESTABLISHED_RANGE = (60, 432_000)
UDP_STREAM_RANGE = (60, 180)
UDP_RANGE = (30, 60)


@dataclass(frozen=True, slots=True)
class ConnectionTracking:
    """Idle timers of one interface in seconds, with EC2's defaults.

    A flow between two interfaces lives as long as both remember it. The other timers are not settable: half-open
    TCP 120, answered SYN 60, half shut 120, shut 10; ICMP queries 30; other protocols 600.
    """

    tcp_established: int = 432_000
    udp_stream: int = 180  # answered at least once
    udp: int = 30  # not answered yet


DEFAULT_TRACKING = ConnectionTracking()


def check_tracking(timers: ConnectionTracking) -> ConnectionTracking:
    """The timers themselves when each is in EC2's range; raises ParameterInvalid for the first that is not."""
    for name, value, (low, high) in (
        ("TcpEstablishedTimeout", timers.tcp_established, TCP_ESTABLISHED_RANGE),
        ("UdpStreamTimeout", timers.udp_stream, UDP_STREAM_RANGE),
        ("UdpTimeout", timers.udp, UDP_RANGE),
    ):
        if not low <= value <= high:
            raise ParameterInvalid(name, str(value))
    return timers
