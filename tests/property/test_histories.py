"""Any history of changes ends in the same entries as its final state built at once, and enforces the same."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from scenarios.random_worlds import (
    GROUPS_PER_NETWORK,
    LISTS,
    NETWORKS,
    random_frame,
    random_group,
    random_guest,
    random_list,
    random_packet,
    random_view,
)
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, ViewItem, apply_frame
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.evaluate import evaluate

CHANCE = st.randoms(use_true_random=False)
START = datetime(2026, 1, 1, tzinfo=UTC)


def built_at_once(view: HostView) -> HostView:
    """The same state as one whole frame gives it to a host that knows nothing, in another order."""
    items: list[ViewItem] = [
        *view.interfaces.values(),
        *view.prefix_lists.values(),
        *view.members.values(),
        *view.groups.values(),
    ]
    return apply_frame(HostView(view.host), Frame(view.revision, tuple(reversed(items)), whole=True))


class Histories(RuleBasedStateMachine):
    """A host that hears of one change after the other."""

    @initialize(chance=CHANCE)
    def begin(self, chance: Random) -> None:
        self.view = random_view(chance)
        self.compiler = Compiler()
        self.datapath = SimulatedDatapath(START)
        self.chance = chance

    def _hear(self, *items: ViewItem) -> None:
        self.view = apply_frame(self.view, Frame(Revision(self.view.revision + 1), items))

    @rule(chance=CHANCE)
    def anything_changes(self, chance: Random) -> None:
        self.view = apply_frame(self.view, random_frame(chance, self.view))

    @rule(chance=CHANCE)
    def rules_change(self, chance: Random) -> None:
        self._hear(random_group(chance, chance.choice(tuple(NETWORKS)), chance.randrange(GROUPS_PER_NETWORK)))

    @rule(chance=CHANCE)
    def a_prefix_list_changes(self, chance: Random) -> None:
        self._hear(random_list(chance, chance.randrange(len(LISTS) - 1)))

    @rule(chance=CHANCE)
    def somebody_comes(self, chance: Random) -> None:
        self._hear(*random_guest(chance, chance.randint(1, 9)))

    @rule(chance=CHANCE)
    def somebody_swaps_groups(self, chance: Random) -> None:
        if self.view.interfaces:
            name = chance.choice(sorted(self.view.interfaces))
            other = self.view.interfaces[chance.choice(sorted(self.view.interfaces))]
            own = replace(self.view.interfaces[name], groups=other.groups)
            members = [replace(self.view.members[name], groups=other.groups)] if name in self.view.members else []
            self._hear(own, *members)

    @rule()
    def nothing_changes(self) -> None:
        assert self.compiler(self.view) == self.compiler(self.view)
        assert self.compiler.rebuilt == 0

    @invariant()
    def the_entries_are_those_of_the_final_state(self) -> None:
        if not hasattr(self, "view"):
            return
        policy = self.compiler(self.view)
        assert policy == compile_host(built_at_once(self.view))
        self.datapath.apply(policy)
        assert self.datapath.observe() == policy

    @invariant()
    def they_mean_what_the_rules_mean(self) -> None:
        if not hasattr(self, "view"):
            return
        for interface in self.view.interfaces:
            self.datapath.attach(interface, DeviceName(f"veth-{interface}"))
        for _ in range(3):
            packet, sender = random_packet(self.chance, self.view)
            assert self.datapath.judge(packet, sender) == evaluate(self.view, packet, sender)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
