"""A connection that is made while its interface has almost used up its allowance is as safe as any once it is made."""

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import policy_of
from kernel.test_allowance import ALLOWANCE, WORLD, connection, flood, goes_on, guests, host, used

__all__ = ["guests", "host"]  # fixtures

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("kernel-allowance"),
    pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"]),
]


def test_what_was_half_open_when_noted_and_is_made_since_stays(
    host: EbpfHost,
    guests: dict[str, Guest],
    family: int,
) -> None:
    flood(guests, "flooder", "victim", family, ALLOWANCE * 7 // 8)
    late = connection(guests, "flooder", "victim", family, 81)
    assert goes_on(late)
    flood(guests, "flooder", "victim", family, 3 * ALLOWANCE)
    assert used(host, guests, "flooder").tracked <= ALLOWANCE
    # Without rules only its entry lets it go on: else it might be judged as new, and nobody would notice.
    host.datapath.apply(policy_of(WORLD, ["careful"]))
    assert goes_on(late)
