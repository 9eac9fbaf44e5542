"""The programs compiled once more with another define: the same source, and another object than the one shipped."""

import platform
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "bpf" / "stockade.bpf.c"


def other_build(directory: Path) -> Path:
    """The object, in this directory. Needs clang."""
    made = directory / "other.bpf.o"
    order = "el" if sys.byteorder == "little" else "eb"
    machine = platform.machine()
    subprocess.run(
        [
            *("clang", "-O2", "-g", "-target", f"bpf{order}", "-mcpu=v3"),
            *(f"-I/usr/include/{machine}-linux-gnu", f"-D__{machine}__", "-DSTOCKADE_OTHER_BUILD"),
            *("-c", str(SOURCE), "-o", str(made)),
        ],
        check=True,
    )
    return made
