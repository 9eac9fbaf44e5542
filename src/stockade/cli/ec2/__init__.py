"""The classic ec2-* command line tools, speaking EC2's Query API of 2006 to 2009.

In: a tool's name, its arguments and the environment. Out: tab-separated records on standard output, or one
line `Client.Code: text` on standard error and status 1. Knows nothing of Stockade but its public API: it works
against anything that answers EC2's Query API. Start at main.py (which tool is which command), then groups.py.

Standard library only, and little of that: a tool is started thousands of times by scripts, and what it imports
is most of its running time. Hence no dataclasses, typing, re, urllib, http or argparse in here (8 to 25 ms each
beside an interpreter that starts in 7); `bin/` holds the launchers that start Python without its site package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def tools_directory() -> "Path":
    """The directory to put on PATH: one executable launcher for each tool name, long and short."""
    from pathlib import Path

    return Path(__file__).resolve().parent / "bin"
