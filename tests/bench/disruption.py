"""What traffic notices while agents die and are upgraded: nothing.

200 established TCP flows between instances, a question always under way on each, half of them tracked and half not,
half over IPv4 and half over IPv6. The agent is killed (kill -9) and another build of it started, 20 times: each time
every program on every device is replaced. All the while every instance sends every other what policy forbids, and a
raw socket in each looks for it.

    flows_broken          that ended, erred or were mute for five seconds
    forbidden_delivered   packets that policy forbids, seen by a sniffer in any instance
    kills, upgrades       of the agent; in an upgrade every device got other programs
    witnesses             packets sent like the forbidden ones, but allowed, that sniffers saw: they do see
    retransmitted         TCP segments sent again, of all those that went through
    longest_answer        that any flow waited for, while two cores start agents
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.harness import Options, Report, progress, run
from netns.agent_host import AgentHost
from netns.live_traffic import Flows, Scan, Sniffers
from netns.machines import UNTRACKED_PORT, clients, ends_of, items, pairs, servers
from netns.other_build import other_build

FLOWS = 200
NEAR, FAR = clients(4), servers(4)


def measure(options: Options) -> Report:
    kills = options.rounds(full=20, quick=3)
    report = Report(kills)
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as place, AgentHost(Path(place) / "host") as host:
        other = other_build(Path(place))
        host.tell(items(NEAR + FAR))
        host.start()
        host.until_running(NEAR + FAR)
        near, far = ends_of(host, NEAR), ends_of(host, FAR)
        with ExitStack() as going_on:
            for end in near + far:
                going_on.callback(os.close, end.netns)
            sniffers = Sniffers(near + far)
            scan = Scan(near + far, UNTRACKED_PORT)
            flows = Flows(pairs(near, far, FLOWS))
            with sniffers, scan, flows:
                flows.until_all_answered()
                upgrades = sum(_replace(host, flows, None if number % 2 else other, number) for number in range(kills))
                answers, longest_s, again = flows.answers, flows.longest_s, flows.retransmitted()
    report.figure("flows", FLOWS, "flows", at_least=200)
    report.figure("kills", kills, "kills", at_least=3 if options.quick else 20)
    report.figure("upgrades", upgrades, "upgrades", at_least=kills)
    report.figure("flows_broken", len(flows.broken), "flows", at_most=0)
    report.figure(
        "forbidden_sent", sum(count for kind, count in scan.sent.items() if not kind.startswith("witness")), "packets"
    )
    report.figure("forbidden_delivered", sniffers.forbidden, "packets", at_most=0)
    report.figure(
        "witnesses",
        min(sniffers.witnesses[end.by(family)] for end in near + far for family in (4, 6)),
        "packets",
        at_least=1,
    )
    report.figure("answers", answers, "answers")
    report.figure("retransmitted", again, "segments")
    report.figure("longest_answer", longest_s * 1000, "ms")
    return report


def _replace(host: AgentHost, flows: Flows, program: Path | None, number: int) -> bool:
    """Kill the agent and start another build; whether every device then has other programs than before."""
    before = host.programs()
    host.kill()
    flows.until_all_answered(3)
    host.start(program=program)
    host.until_said("restored")
    host.until_said("enforced")
    after = host.programs()
    flows.until_all_answered(3)
    progress(f"agent {number + 1} killed and replaced, {len(flows.broken)} flows broken")
    return after.keys() == before.keys() and all(not set(before[one]) & set(after[one]) for one in before)


if __name__ == "__main__":
    run("disruption", measure)
