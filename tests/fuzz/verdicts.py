"""`./dev fuzz verdicts`: rules read slowly, compiled entries, and entries compiled with a memory must agree.

Each world is a history of views. The remembering compiler follows it from change to change; what it gives must be
what a fresh compiler gives, and every packet must get the evaluator's verdict, hop by hop and rule by rule. World N of
seed S is the same on every machine: `--seed S --only N` plays just that one.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random

from bench.harness import fuzz_document
from scenarios.random_worlds import random_history, random_packet
from stockade.datapath.contract import DeviceName
from stockade.datapath.simulated.datapath import SimulatedDatapath
from stockade.model.host_view import HostView
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.entries import HostPolicy
from stockade.policy.evaluate import evaluate

CHANGES = 4
PACKETS = 40
SHOWN = 5


def disagreements_of(random: Random) -> Iterator[str | None]:
    """Judges one world: None for each judgement that agreed, else what did not."""
    compiler = Compiler()
    for view in random_history(random, CHANGES):
        policy = compile_host(view)
        remembered = compiler(view)
        yield None if remembered == policy else f"compiled with a memory differs at revision {view.revision}"
        datapath = simulated(view, policy)
        for _ in range(PACKETS):
            packet, sender = random_packet(random, view)
            told, judged = evaluate(view, packet, sender), datapath.judge(packet, sender)
            yield None if told == judged else f"{packet} from {sender}\n  rules:   {told}\n  entries: {judged}"


def simulated(view: HostView, policy: HostPolicy) -> SimulatedDatapath:
    datapath = SimulatedDatapath(datetime(2026, 1, 1, tzinfo=UTC))
    datapath.apply(policy)
    for interface in view.interfaces:
        datapath.attach(interface, DeviceName(f"veth-{interface}"))
    return datapath


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz verdicts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--judgements", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="the number of the one world to play")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    judgements = disagreements = 0
    number = arguments.only or 0
    while True:
        for found in disagreements_of(Random(f"{arguments.seed}/{number}")):
            judgements += 1
            if found is not None:
                disagreements += 1
            if found is not None and disagreements <= SHOWN:
                print(f"world --seed {arguments.seed} --only {number}: {found}", file=sys.stderr)
        number += 1
        enough = arguments.judgements is not None and judgements >= arguments.judgements
        if enough or arguments.only is not None or time.monotonic() > until:
            break
    document = fuzz_document("verdicts", judgements, disagreements, arguments.seed)
    said = "{judgements} judgements, {disagreements} disagreements, seed {seed}".format(**document)
    print(json.dumps(document) if arguments.json else said)
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
