"""Runs one tool in an interpreter that was started without site packages: `python -I -S launch.py TOOL ARGS`.

The launchers in bin/ use it. It finds the package by its own place, and leaves no compiled files owned by root
in somebody's checkout.
"""

import os
import sys

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def main() -> int:
    """Set up what `site` would have, then hand over."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(PACKAGE))))
    sys.pycache_prefix = os.environ.get("PYTHONPYCACHEPREFIX")  # -I made Python blind to it
    if os.environ.get("PYTHONDONTWRITEBYTECODE") or (os.geteuid() == 0 and os.stat(PACKAGE).st_uid != 0):
        sys.dont_write_bytecode = True
    from stockade.cli.ec2.main import main as run_tool

    return run_tool(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
