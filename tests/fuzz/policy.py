"""`./dev fuzz policy`: the rules, the compiled entries and the programs in the kernel must judge alike.

Each world is a history of views; frames by chance are sent through it, first packets, packets of flows and broken
ones, and every engine must say of each what the rules say: verdict, reason, rule. A judgement is a distinct frame in
a view on which all agree. World N of seed S is the same on every machine: `--seed S --only N` plays just that one.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from multiprocessing import get_context
from random import Random

from bench.harness import fuzz_document
from fuzz.engines import Engine, SimulatedEngine, agree, entries_differ, said
from fuzz.traffic import Sent, World
from stockade.policy.compile import Compiler

VIEWS = 3
FRAMES = 80
SHOWN = 5
SHARES = {"allowed": (0.30, 0.70), "malformed": (0.20, 1.0), "later": (0.30, 1.0)}
FEW = 20_000
"""With fewer judgements than this, shares are chance, and not held against the run."""
POOLS = (ip_network("198.18.0.0/16"), ip_network("2001:db8:5c::/48"))


@dataclass
class Tally:
    """What came of a run."""

    judgements: int = 0
    worlds: int = 0
    disagreements: int = 0
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, sent: Sent) -> None:
        self.judgements += 1
        self.counted["allowed"] += sent.told.passed
        self.counted[sent.sort] += 1

    @property
    def shares(self) -> dict[str, float]:
        return {name: round(self.counted[name] / max(self.judgements, 1), 3) for name in SHARES}

    @property
    def off_balance(self) -> list[str]:
        """The shares that are not as they should be: then agreement means less than it says."""
        if self.judgements < FEW:
            return []
        return [name for name, (low, high) in SHARES.items() if not low <= self.shares[name] <= high]


def play(random: Random, engines: dict[str, Engine], tally: Tally) -> list[str]:
    """One world through every engine; a line for each answer that differs from the rules."""
    compiler = Compiler()
    simulated = SimulatedEngine()
    everybody: dict[str, Engine] = {"simulated": simulated, **engines}
    for engine in everybody.values():
        engine.begin()
    differences: list[str] = []
    for number, (view, steps) in enumerate(World(random, VIEWS).stages(FRAMES)):
        policy = compiler(view)
        sent = [step for step in steps if isinstance(step, Sent)]
        left_out: set[int] = set()
        for name, engine in everybody.items():
            engine.enforce(policy)
            for place, (step, given) in enumerate(zip(sent, engine.play(steps), strict=True)):
                if given is None:
                    left_out.add(place)
                elif not agree(said(step.told), given, concerns_us(step)):
                    left_out.add(place)
                    differences.append(f"{_shown(number, place, step)}\n  {name}: {given}")
        for place, step in enumerate(sent):
            different = entries_differ(view, simulated.datapath, step)
            if different is not None:
                left_out.add(place)
                differences.append(different)
        seen: set[object] = set()
        for place, step in enumerate(sent):
            if place not in left_out and (step.frame, step.sender) not in seen:
                seen.add((step.frame, step.sender))
                tally.add(step)
    tally.worlds += 1
    tally.disagreements += len(differences)
    return differences


def concerns_us(step: Sent) -> bool:
    """From outside only what is for the public pools comes to a datapath's ears."""
    if step.sender is not None:
        return True
    at, width = {b"\x08\x00": (30, 4), b"\x86\xdd": (38, 16)}.get(step.frame[12:14], (0, 0))
    destination = step.frame[at : at + width]
    if not width or len(destination) < width:
        return False
    return any(ip_address(destination) in pool for pool in POOLS if pool.version == (4 if width == 4 else 6))


def _shown(view: int, place: int, step: Sent) -> str:
    return f"view {view} frame {place} ({step.sort}) {step.frame.hex()} from {step.sender}\n  rules: {step.told}"


def run(arguments: argparse.Namespace, engines: dict[str, Engine], first: int = 0, every: int = 1) -> Tally:
    """Worlds until it is enough: from `first` on, `every` so manieth."""
    until = time.monotonic() + arguments.seconds
    tally = Tally()
    number = first if arguments.only is None else arguments.only
    while True:
        before = tally.disagreements
        for found in play(Random(f"{arguments.seed}/{number}"), engines, tally):
            if before < SHOWN:
                print(f"world --seed {arguments.seed} --only {number}: {found}", file=sys.stderr)
            before += 1
        number += every
        enough = arguments.judgements is not None and tally.judgements >= arguments.judgements / every
        enough = enough or (arguments.worlds is not None and tally.worlds >= arguments.worlds / every)
        if enough or arguments.only is not None or time.monotonic() > until:
            return tally


def run_one(arguments: argparse.Namespace, first: int, every: int) -> Tally:
    """In this process, with the kernel where that may be asked."""
    with contextlib.ExitStack() as stack:
        engines: dict[str, Engine] = {}
        if os.geteuid() == 0:
            from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

            engines["kernel"] = stack.enter_context(KernelEngine())
        return run(arguments, engines, first, every)


def run_several(arguments: argparse.Namespace, processes: int) -> Tally:
    """The worlds shared out: the first process plays every so manieth, and so on."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = [pool.submit(run_one, arguments, first, processes) for first in range(processes)]
        tallies = [part.result() for part in parts]
    return Tally(
        sum(each.judgements for each in tallies),
        sum(each.worlds for each in tallies),
        sum(each.disagreements for each in tallies),
        sum((each.counted for each in tallies), Counter()),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz policy", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--judgements", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--worlds", type=int, help="stop after so many worlds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="the number of the one world to play")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("not root: the kernel is not asked", file=sys.stderr)
    alone = arguments.only is not None or arguments.processes == 1
    tally = run_one(arguments, 0, 1) if alone else run_several(arguments, arguments.processes)
    document = fuzz_document("policy", tally.judgements, tally.disagreements, arguments.seed)
    document |= {"worlds": tally.worlds, "shares": tally.shares, "off_balance": tally.off_balance}
    line = "{judgements} judgements in {worlds} worlds, {disagreements} disagreements, seed {seed}, {shares}"
    print(json.dumps(document) if arguments.json else line.format(**document))
    return 1 if tally.disagreements or tally.off_balance else 0


if __name__ == "__main__":
    sys.exit(main())
