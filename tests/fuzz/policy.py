"""`./dev fuzz policy`: the rules, the compiled entries and the programs in the kernel must judge alike.

Each world is a history of views; the policy of each is compiled with a memory, given to the simulated datapath and,
as root, to the kernel, and packets by chance are judged by all: same gate, same reason, same rules. World N of seed S
is the same on every machine: `--seed S --only N` plays just that one.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Protocol

from bench.harness import fuzz_document
from kernel.judging import KernelJudge, Ruling, ruling
from scenarios.random_worlds import random_history, random_packet
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.flow import Packet
from stockade.model.ids import NetworkInterfaceId
from stockade.policy.compile import Compiler
from stockade.policy.entries import HostPolicy
from stockade.policy.evaluate import evaluate

CHANGES = 4
PACKETS = 60
SHOWN = 5
Sent = tuple[Packet, NetworkInterfaceId | None]


class Engine(Protocol):
    """Judges by a compiled policy."""

    def enforce(self, policy: HostPolicy) -> None: ...

    def judge_all(self, packets: list[Sent]) -> list[Ruling]: ...


class SimulatedJudge:
    """The simulated datapath as an engine."""

    def enforce(self, policy: HostPolicy) -> None:
        self._datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
        self._datapath.apply(policy)
        for endpoint in policy.endpoints:
            self._datapath.attach(endpoint, DeviceName(f"veth-{endpoint}"))

    def judge_all(self, packets: list[Sent]) -> list[Ruling]:
        return [ruling(self._datapath.judge(packet, sender)) for packet, sender in packets]


def judgements_of(random: Random, engines: dict[str, Engine]) -> Iterator[str | None]:
    """Judges one world: None for each judgement that agreed with the rules, else what did not."""
    compiler = Compiler()
    for view in random_history(random, CHANGES):
        policy = compiler(view)
        packets = [random_packet(random, view) for _ in range(PACKETS)]
        told = [ruling(evaluate(view, packet, sender)) for packet, sender in packets]
        for name, engine in engines.items():
            engine.enforce(policy)
            for (packet, sender), wanted, given in zip(packets, told, engine.judge_all(packets), strict=True):
                agreed = wanted == given
                yield None if agreed else f"{packet} from {sender}\n  rules: {wanted}\n  {name}: {given}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz policy", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--judgements", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="the number of the one world to play")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        engines: dict[str, Engine] = {"entries": SimulatedJudge()}
        if os.geteuid() == 0:
            engines["kernel"] = stack.enter_context(KernelJudge())
        else:
            print("not root: the kernel is not asked", file=sys.stderr)
        judgements, disagreements = run(arguments, engines)
    document = fuzz_document("policy", judgements, disagreements, arguments.seed)
    said = "{judgements} judgements, {disagreements} disagreements, seed {seed}".format(**document)
    print(json.dumps(document) if arguments.json else said)
    return 1 if disagreements else 0


def run(arguments: argparse.Namespace, engines: dict[str, Engine]) -> tuple[int, int]:
    """Worlds until it is enough; how many judgements, and how many of them differed."""
    until = time.monotonic() + arguments.seconds
    judgements = disagreements = 0
    number = arguments.only or 0
    while True:
        for found in judgements_of(Random(f"{arguments.seed}/{number}"), engines):
            judgements += 1
            if found is not None:
                disagreements += 1
                if disagreements <= SHOWN:
                    print(f"world --seed {arguments.seed} --only {number}: {found}", file=sys.stderr)
        number += 1
        enough = arguments.judgements is not None and judgements >= arguments.judgements
        if enough or arguments.only is not None or time.monotonic() > until:
            return judgements, disagreements


if __name__ == "__main__":
    sys.exit(main())
