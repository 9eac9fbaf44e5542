"""Make the checkout's package importable in its virtual environment, and put the `stockade` command there.

An editable install would do the same, but needs a build back end from the network; this needs nothing. Run by
`./dev` with the environment's own interpreter.
"""

import sys
import sysconfig
from pathlib import Path

COMMAND = """#!{interpreter}
import sys

from stockade.cli.stockade.main import main

sys.exit(main())
"""


def link(checkout: Path) -> None:
    Path(sysconfig.get_path("purelib"), "stockade-checkout.pth").write_text(f"{checkout / 'src'}\n", encoding="utf-8")
    command = Path(sysconfig.get_path("scripts"), "stockade")
    command.write_text(COMMAND.format(interpreter=sys.executable), encoding="utf-8")
    command.chmod(0o755)


if __name__ == "__main__":
    link(Path(__file__).resolve().parents[1])
