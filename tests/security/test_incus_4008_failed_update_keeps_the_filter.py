"""lxc/incus issue 4008: a failed update left a NIC with no filter at all, while the API went on showing its rules.

Whichever step of an update fails, the policy before it stands whole and judges as before; the failure is told to
whoever asked, and the host then says which revision it enforces, not which it was given.
"""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kernel.judging import KernelJudge
from scenarios.worlds import group, instance, parse_packet, public_address, view, world
from stockade.datapath.contract import ApplyFailed
from stockade.datapath.ebpf import syscall
from stockade.feed.local import Feed
from stockade.model.account import Account, Platform
from stockade.model.flow import DropReason
from stockade.model.ids import AccountId, HostId
from stockade.model.resources import put
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy
from stockade.store.cache import Cache
from stockade.store.memory import MemoryStore

OUTSIDER = ip_address("198.51.100.7")
MOST_STEPS = 400


def policy(*ports: int) -> HostPolicy:
    ingress = [f"tcp/{port} from 0.0.0.0/0" for port in ports]
    return compile_host(view(world(group("web", ingress=ingress), instance("web"))))


OF = world(group("web"), instance("web"))
OLD, NEW = policy(80, 81), policy(443, 8443)


def open_ports(judge: KernelJudge) -> set[int]:
    ports = (80, 81, 443, 8443)
    packets = [(parse_packet(f"tcp/{port}", OUTSIDER, public_address(OF, "web")), None) for port in ports]
    told = judge.judge_all(packets)
    return {port for port, given in zip(ports, told, strict=True) if given.reason is DropReason.NONE}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many more writes the kernel takes before it refuses one; -1: all."""
    left, real = [-1], syscall.bpf
    writes = {syscall.UPDATE, syscall.DELETE, syscall.UPDATE_BATCH, syscall.DELETE_BATCH}

    def bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        if command in writes and left[0] >= 0:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(12, f"{what}: no memory, by order of the test")
        return real(command, attributes, what)

    monkeypatch.setattr(syscall, "bpf", bpf)
    yield left


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_an_update_that_fails_anywhere_leaves_the_filter_that_was_there(judge: KernelJudge, failing: list[int]) -> None:
    refused = 0
    for step in range(MOST_STEPS):
        failing[0] = -1
        judge.enforce(OLD)
        failing[0] = step
        try:
            judge.datapath.apply(NEW)
        except ApplyFailed:
            failing[0] = -1
            refused += 1
            assert open_ports(judge) == {80, 81}, step
            assert judge.datapath.observe() == OLD
            continue
        if failing[0] >= 0:  # it had fewer writes to make than were let through
            break
    failing[0] = -1
    assert open_ports(judge) == {443, 8443}
    assert refused >= 3


async def test_a_host_that_could_not_enforce_is_not_said_to_have_done_so() -> None:
    store = MemoryStore()
    cache = await Cache.open(store)
    await cache.commit([], [put(Account(AccountId("123456789012"), "mary", Platform.VPC))])
    feed = Feed(cache)
    host = HostId("host-1")
    stream = feed.connect(host)
    frames = stream.frames()
    frame = await anext(frames)
    await stream.failed(frame.revision, "writing map intervals: ENOMEM")
    (state,) = feed.hosts()
    assert (state.failure, state.enforced < frame.revision) == ("writing map intervals: ENOMEM", True)
    await stream.enforced(frame.revision)
    (state,) = feed.hosts()
    assert (state.failure, state.enforced) == (None, frame.revision)
    feed.close()
    await cache.close()
    await store.close()
