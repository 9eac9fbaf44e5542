"""`./dev fuzz parser`: the kernel reads every frame as policy/dissect.py does, or refuses it for the same reason.

One interface that may send to nobody sends frames by chance: what the kernel says of each, and which packet it says
it saw, must be what the slow reader says. A judgement is a distinct frame on which they agree.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from random import Random

from bench.harness import fuzz_document
from fuzz.engines import agree, said
from fuzz.frames_alone import MUTE, alone, frames_of_corpus, random_frames
from fuzz.traffic import MALFORMED, Sent
from stockade.model.flow import Packet, Verdict
from stockade.model.ports import PORTED
from stockade.policy.compile import compile_host
from stockade.policy.dissect import Kind, Reading, dissect
from stockade.policy.flows import judge_frame
from stockade.policy.memory import Memory, advance

BATCH = 500
SHOWN = 5


def wanted(frames: list[bytes]) -> list[Sent]:
    """Each frame with what the rules say of it; nothing is remembered from one to the next but parts of datagrams."""
    view = alone()
    memory = advance(Memory(), view)
    found = []
    for frame in frames:
        verdict, memory = judge_frame(view, memory, 0.0, frame, MUTE)
        read = dissect(frame)
        packet = read.packet if isinstance(read, Reading) and read.kind is not Kind.LATER else None
        found.append(Sent(frame, MUTE, MALFORMED, packet, verdict))
    return found


def same_packet(read: Packet | None, told: Packet | None) -> bool:
    """As far as an event shows one: no source port where there is none."""
    if read is None or told is None:
        return True
    if read.protocol not in PORTED:
        read, told = replace(read, source_port=0), replace(told, source_port=0)
    return read == told


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz parser", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--judgements", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("fuzz parser: the kernel's parser can only be asked by root: sudo ./dev fuzz parser", file=sys.stderr)
        return 2
    judgements, disagreements = run(arguments)
    document = fuzz_document("parser", judgements, disagreements, arguments.seed)
    line = "{judgements} judgements, {disagreements} disagreements, seed {seed}"
    print(json.dumps(document) if arguments.json else line.format(**document))
    return 1 if disagreements else 0


def run(arguments: argparse.Namespace) -> tuple[int, int]:
    """The corpus, then frames by chance until it is enough."""
    from fuzz.kernel_engine import KernelEngine  # noqa: PLC0415 - needs root

    random, until = Random(f"parser/{arguments.seed}"), time.monotonic() + arguments.seconds
    seen: set[bytes] = set()
    disagreements = 0
    with KernelEngine() as engine:
        engine.enforce(compile_host(alone()))
        frames = frames_of_corpus()
        while True:
            engine.begin()
            for sent, given in zip(wanted(frames), engine.play_and_tell(frames, MUTE), strict=True):
                if given is None:
                    continue
                answer, told = given
                if agree(said(sent.told), answer, whose=True) and same_packet(sent.packet, told):
                    seen.add(sent.frame)
                    continue
                disagreements += 1
                if disagreements <= SHOWN:
                    print(_shown(sent, sent.told), f"kernel: {answer} {told}", sep="\n  ", file=sys.stderr)
            enough = arguments.judgements is not None and len(seen) >= arguments.judgements
            if enough or time.monotonic() > until:
                return len(seen), disagreements
            frames = [frame for _ in range(BATCH) for frame in random_frames(random, alone())]


def _shown(sent: Sent, verdict: Verdict) -> str:
    return f"{sent.frame.hex()}\n  read: {dissect(sent.frame)}\n  rules: {verdict}"


if __name__ == "__main__":
    sys.exit(main())
