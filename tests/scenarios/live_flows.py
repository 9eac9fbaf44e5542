"""Section 5 of the semantics as stories: which flows are tracked, and what becomes of live ones when rules change."""

from scenarios.stories import Answers, Complains, Cuts, Goes, Is, Opens, Pieces, Remembers, Waits, pair, story
from scenarios.worlds import OPEN, PASS
from stockade.model.flow import DropReason
from stockade.model.tracking import ConnectionTracking

NO_IN, NO_OUT = DropReason.NO_INGRESS_RULE, DropReason.NO_EGRESS_RULE
TORN = DropReason.FRAGMENT
EVERYBODY = ["tcp/80 from 0.0.0.0/0", "tcp/80 from ::/0", "udp/53 from 0.0.0.0/0", "udp/53 from ::/0"]
ANYTHING = ["all from 0.0.0.0/0", "all from ::/0"]
MEMBERS = ["tcp/80 from client", "udp/53 from client", "47 from client"]
PINGS = ["icmp/8 from 0.0.0.0/0", "icmpv6/128 from ::/0"]
SYN_ACK, FIN, RST = 0x12, 0x11, 0x04


def connected(name: str, traffic: str = "tcp/80") -> list[Opens | Goes | Answers]:
    """A flow with a packet each way."""
    return [Opens(name, traffic), Answers(name, flags=SYN_ACK), Goes(name)]


STORIES = (
    story(
        "5.2 revoked: a tracked flow goes on, new ones do not begin",
        [Is(pair(MEMBERS)), *connected("a"), Is(pair([])), Goes("a"), Answers("a"), Opens("b", "tcp/80", NO_IN)],
    ),
    story(
        "5.2 revoked: an untracked flow is cut at once",
        [Is(pair(EVERYBODY)), *connected("a"), Is(pair([])), Goes("a", NO_IN), Answers("a", NO_IN)],
    ),
    story(
        "5.2 revoked: an untracked flow is cut by its answer too",
        [Is(pair(EVERYBODY)), *connected("a"), Is(pair([])), Answers("a", NO_IN), Goes("a", NO_IN)],
    ),
    story(
        "5.2 revoked: UDP, tracked and untracked",
        [
            Is(pair(MEMBERS)),
            *connected("a", "udp/53"),
            Is(pair([])),
            Goes("a"),
            Is(pair(EVERYBODY)),
            *connected("b", "udp/53"),
            Is(pair([])),
            Goes("b", NO_IN),
        ],
    ),
    story(
        "5.1 a narrower rule beside the one for everybody does not matter",
        [
            Is(pair([*MEMBERS, *EVERYBODY])),
            *connected("a"),
            Is(pair([])),
            Goes("a", NO_IN),
        ],
    ),
    story(
        "5.1 the rule for everybody goes, a narrower one stays: the flow goes on, tracked from now on",
        [Is(pair([*MEMBERS, *EVERYBODY])), *connected("a"), Is(pair(MEMBERS)), Goes("a"), Is(pair([])), Goes("a")],
    ),
    story(
        "5.1 ICMP is always tracked",
        [Is(pair(PINGS)), Opens("a", "ping"), Answers("a"), Is(pair([])), Goes("a"), Answers("a")],
    ),
    story(
        "5.1 other protocols are tracked by their addresses, and the peer may answer",
        [Is(pair(["47 from 0.0.0.0/0", "47 from ::/0"])), Opens("a", "47"), Is(pair([])), Answers("a"), Goes("a")],
    ),
    story(
        "5.1 without everything open back the flow is tracked, though everybody may open it",
        [Is(pair(EVERYBODY, [])), *connected("a"), Is(pair([], [])), Goes("a"), Answers("a")],
    ),
    story(
        "5.1 every port of the protocol is as good as everything, half of them is not",
        [
            Is(pair(EVERYBODY, ["tcp/0-65535 to 0.0.0.0/0", "tcp/0-65535 to ::/0"])),
            *connected("a"),
            Is(pair([], ["tcp/0-65535 to 0.0.0.0/0", "tcp/0-65535 to ::/0"])),
            Goes("a", NO_IN),
            Is(pair(EVERYBODY, ["tcp/0-9999 to 0.0.0.0/0", "tcp/0-9999 to ::/0", "udp to 0.0.0.0/0", "udp to ::/0"])),
            *connected("b"),
            Is(pair([])),
            Goes("b"),
        ],
    ),
    story(
        "5.1 the sender's side too: untracked there, its egress revoked",
        [
            Is(
                pair(
                    MEMBERS, server_groups=("server",), client=OPEN, client_groups=("client", "other"), others=ANYTHING
                )
            ),
            *connected("a"),
            Is(pair(MEMBERS, client=[])),
            Goes("a", NO_OUT),
        ],
    ),
    story(
        "5.2 added: nothing changes for live flows",
        [Is(pair(MEMBERS)), *connected("a"), Is(pair([*MEMBERS, "tcp/22 from client"])), Goes("a"), Answers("a")],
    ),
    story(
        "5.2 any-any put on both ways, then everything removed: cut, though it was tracked and no packet came between",
        [Is(pair(MEMBERS)), *connected("a"), Is(pair(ANYTHING)), Is(pair([])), Goes("a", NO_IN), Answers("a", NO_IN)],
    ),
    story(
        "5.2 any-any put on both ways, a packet, then everything removed: cut",
        [Is(pair(MEMBERS)), *connected("a"), Is(pair(ANYTHING)), Goes("a"), Is(pair([])), Answers("a", NO_IN)],
    ),
    story(
        "5.2 any-any put on one way only cuts nothing",
        [Is(pair(MEMBERS, [])), *connected("a"), Is(pair(ANYTHING, [])), Is(pair([], [])), Goes("a"), Answers("a")],
    ),
    story(
        "5.2 everything open back removed: tracked from the next packet on, and nothing breaks",
        [
            Is(pair(EVERYBODY)),
            *connected("a"),
            Is(pair(EVERYBODY, [])),
            Answers("a"),
            Is(pair([], [])),
            Goes("a"),
            Answers("a"),
        ],
    ),
    story(
        "5.2 everything open back removed, then the rule, without a packet between: cut",
        [Is(pair(EVERYBODY)), *connected("a"), Is(pair(EVERYBODY, [])), Is(pair([], [])), Goes("a", NO_IN)],
    ),
    story(
        "5.2 groups swapped: as revoke and authorize",
        [
            Is(pair(MEMBERS, others=["tcp/22 from client"])),
            *connected("a"),
            Is(pair(MEMBERS, server_groups=("other",), others=["tcp/22 from client"])),
            Goes("a"),
            Opens("b", "tcp/80", NO_IN),
            Opens("c", "tcp/22"),
        ],
    ),
    story(
        "5.2 in the middle of a connection that nobody knows: as rules would allow it anew",
        [
            Is(pair(MEMBERS)),
            Opens("a", "tcp/80", flags=0x10),
            Answers("a"),
            Is(pair([])),
            Goes("a"),
            Opens("b", "tcp/80", NO_IN, flags=0x10),
        ],
    ),
    story(
        "P8 a reset opens nothing",
        [Is(pair(MEMBERS)), Opens("a", "tcp/80", flags=RST), Answers("a", NO_IN)],
    ),
    story(
        "5.2 a SYN is judged anew whatever is known",
        [Is(pair(MEMBERS)), *connected("a"), Is(pair([])), Goes("a", NO_IN, flags=0x02), Goes("a")],
    ),
    story(
        "5.2 cut on request: what is no longer allowed ends, what is goes on",
        [
            Is(pair(MEMBERS)),
            *connected("a"),
            Cuts("server"),
            Goes("a"),
            Is(pair([])),
            Goes("a"),
            Cuts("server"),
            Goes("a", NO_IN),
        ],
    ),
    story(
        "G12 a member that leaves: tracked flows go on, new ones stop",
        [
            Is(pair(MEMBERS)),
            *connected("a"),
            Is(pair(MEMBERS, client_groups=("other",))),
            Goes("a", DropReason.NONE),
            Answers("a"),
        ],
    ),
    story(
        "G11 a member that comes is let in at once",
        [
            Is(pair(["tcp/80 from other"])),
            Opens("a", "tcp/80", NO_IN),
            Is(pair(["tcp/80 from other"], client_groups=("client", "other"))),
            Opens("a", "tcp/80"),
        ],
    ),
    story(
        "P2 an error about a tracked flow needs no rule",
        [Is(pair(MEMBERS)), *connected("a"), Complains("a")],
    ),
    story(
        "P3 an error about an untracked flow needs one",
        [
            Is(pair(EVERYBODY)),
            *connected("a"),
            Complains("a", NO_IN),
            Goes("a"),
            Is(pair([*EVERYBODY, "icmp/3 from 0.0.0.0/0", "icmpv6/1 from ::/0"])),
            Complains("a"),
        ],
    ),
    story(
        "P3 an error about no flow needs one",
        [Is(pair(MEMBERS)), *connected("a"), Goes("a", flags=RST), Waits(11), Complains("a", NO_IN)],
    ),
    story(
        "5.3 idle timers: UDP not answered, and answered",
        [
            Is(pair(MEMBERS)),
            Opens("a", "udp/53"),
            *connected("b", "udp/53"),
            Is(pair([])),
            Waits(35),
            Answers("a", NO_IN),
            Goes("a", NO_IN),
            Goes("b"),
            Waits(175),
            Goes("b"),
            Waits(185),
            Goes("b", NO_IN),
        ],
    ),
    story(
        "5.3 idle timers: half shut, shut, half open",
        [
            Is(pair(MEMBERS)),
            Opens("a", "tcp/80"),
            *connected("b"),
            *connected("c"),
            *connected("d"),
            Goes("b", flags=FIN),
            Goes("c", flags=FIN),
            Answers("c", flags=FIN),
            Is(pair([])),
            Waits(15),
            Goes("c", NO_IN),
            Waits(110),
            Goes("a", NO_IN),
            Goes("b", NO_IN),
            Goes("d"),
        ],
    ),
    story(
        "5.3 idle timers: other protocols",
        [
            Is(pair(MEMBERS)),
            Opens("a", "47"),
            Is(pair([])),
            Waits(590),
            Answers("a"),
            Waits(590),
            Goes("a"),
            Waits(610),
            Goes("a", NO_IN),
        ],
    ),
    story(
        "5.3 idle timers: as the end with the shorter memory has them, from the next packet on",
        [
            Is(pair(MEMBERS)),
            *connected("a"),
            Is(pair([])),
            Remembers("server", ConnectionTracking(tcp_established=60)),
            Waits(300),
            Goes("a"),
            Waits(50),
            Answers("a"),
            Waits(70),
            Goes("a", NO_IN),
        ],
    ),
    story(
        "P5 fragments: in order, out of order, all of them by what the first one is",
        [
            Is(pair(MEMBERS)),
            Pieces("a", "udp/53", (0, 1, 2), (PASS, PASS, PASS)),
            Pieces("b", "udp/53", (0, 2, 1), (PASS, PASS, PASS)),
            Pieces("c", "tcp/80", (0, 1, 2), (PASS, PASS, PASS)),
            Pieces("d", "udp/54", (0, 1, 2), (NO_IN, TORN, TORN)),
        ],
    ),
    story(
        "P5 fragments: without a first, twice, overlapping, too late",
        [
            Is(pair(MEMBERS)),
            Pieces("a", "udp/53", (1, 2, 0), (TORN, TORN, PASS)),
            Pieces("b", "udp/53", (0, 1, 1, 2), (PASS, PASS, TORN, TORN)),
            Pieces("c", "udp/53", (0, "overlap", 1, 2), (PASS, TORN, TORN, TORN)),
        ],
    ),
    story(
        "P5 fragments: the rules of the first hold for the rest, also when they change between",
        [
            Is(pair(EVERYBODY)),
            Pieces("a", "udp/53", (0, 1), (PASS, PASS)),
            Is(pair([])),
            Answers("a", NO_IN),
        ],
    ),
)
