"""The `stockade` command as a process."""

import subprocess
import sys

COMMAND = (sys.executable, "-P", "-m", "stockade")


def stockade(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run to its end, away from any configuration."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
