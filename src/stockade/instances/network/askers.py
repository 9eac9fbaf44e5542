"""Who asks: the address under which the services namespace sees an endpoint, and what one endpoint may take.

An endpoint is 100.64.0.0/10 with its number of 22 bits, over IPv6 fd00:ec2:0:1:: with the same number. The bit
`_BY_NETWORK` of it tells the datapath by which address the resolver was called; who asks is the same.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

ENDPOINTS = IPv4Network("100.64.0.0/10")
ENDPOINTS6 = IPv6Network("fd00:ec2:0:1::/106")
NOBODY = IPv4Address("0.0.0.0")

PACKETS_A_SECOND = 1024  # of one interface to the services together, as in EC2

_BY_NETWORK = 0x8000
_REMEMBERED = 20000


def asker_of(source: str) -> IPv4Address:
    """The endpoint's service address, whichever way it came. What is no endpoint's stays; IPv6: NOBODY."""
    if ":" not in source:
        address = IPv4Address(source)
    else:
        whole = IPv6Address(source.partition("%")[0])
        if whole not in ENDPOINTS6:
            return NOBODY
        address = ENDPOINTS[int(whole) & int(ENDPOINTS.hostmask)]
    return IPv4Address(int(address) & ~_BY_NETWORK) if address in ENDPOINTS else address


class Places:
    """Room for so many at a time, of whom no one has more than its share."""

    def __init__(self, most: int, of_one: int) -> None:
        self._most = most
        self._of_one = of_one
        self._taken: Counter[IPv4Address] = Counter()

    def take(self, asker: IPv4Address) -> bool:
        """Whether there is a place; `leave` gives it back."""
        if self._taken.total() >= self._most or self._taken[asker] >= self._of_one:
            return False
        self._taken[asker] += 1
        return True

    def leave(self, asker: IPv4Address) -> None:
        self._taken[asker] -= 1
        if not self._taken[asker]:
            del self._taken[asker]


class PacketAllowance:
    """So many packets a second each, and no more in a burst; what is beyond is counted."""

    def __init__(self, a_second: int = PACKETS_A_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second = a_second
        self._clock = clock
        self._left: dict[IPv4Address, tuple[float, float]] = {}
        self._exceeded: Counter[IPv4Address] = Counter()

    @property
    def exceeded(self) -> Mapping[IPv4Address, int]:
        """Packets beyond the allowance so far."""
        return self._exceeded

    def take(self, asker: IPv4Address) -> bool:
        """Whether one more is within the allowance."""
        now = self._clock()
        left, before = self._left.get(asker, (float(self._a_second), now))
        left = min(self._a_second, left + (now - before) * self._a_second)
        if left < 1:
            self._exceeded[asker] += 1
            return False
        if len(self._left) >= _REMEMBERED:
            self._left = {one: kept for one, kept in self._left.items() if now - kept[1] < 1}
        self._left[asker] = (left - 1, now)
        return True
