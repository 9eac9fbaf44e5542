"""The build hook of the wheel: compiles bpf/ with clang and puts the objects into the package.

They run on every machine whose byte order they have, so the wheel stays `py3-none-any`, and whoever installs it needs
no compiler.
"""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "src/stockade/datapath/ebpf"


class KernelObjects(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before it collects the wheel's files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        checkout = Path(self.root)
        subprocess.run(["sh", "bpf/build.sh"], cwd=checkout, check=True)
        objects = sorted(checkout.joinpath(PACKAGE).glob("*.bpf.o"))
        if not objects:
            raise FileNotFoundError(f"bpf/build.sh left no object in {PACKAGE}")
        build_data["artifacts"] += [f"/{path.relative_to(checkout)}" for path in objects]
