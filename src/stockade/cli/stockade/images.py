"""`stockade image`: the catalogue, and building it ahead of need."""

import os
import sys
from collections.abc import Sequence

from stockade.cli.stockade.tables import print_json, print_table
from stockade.daemon import settings
from stockade.daemon.problems import USAGE, Problem
from stockade.daemon.wiring.images import build as build_images
from stockade.daemon.wiring.images import make_images, recipes
from stockade.model.journal import NoJournal


def list_all(as_json: bool, quiet: bool, headers: bool) -> int:
    """Each recipe, what is in it, and whether its file system is built."""
    images = make_images(settings.load(user=0), NoJournal())
    rows = [(one.name, "yes" if images.find(one.layer) else "no", one.description) for one in recipes()]
    if as_json:
        names = ("recipe", "built", "description")
        print_json({"images": [dict(zip(names, row, strict=True)) for row in rows]})
    elif quiet:
        print(*(row[0] for row in rows), sep="\n")
    else:
        print_table(("recipe", "built", "description"), rows, headers)
    return 0


def build(names: Sequence[str]) -> int:
    """Those named, or all."""
    known = [one.name for one in recipes()]
    for name in names:
        if name not in known:
            raise Problem(f"there is no recipe {name!r}", why=f"there are {', '.join(known)}", code=USAGE)
    if os.geteuid() != 0:
        raise Problem("building an image needs root", attempt="sudo stockade image build")
    chosen = settings.load()
    # A build cleans up after itself; the running daemon's journal is not ours to write.
    images = make_images(chosen, NoJournal())
    build_images(images, list(names) or known, lambda line: print(line, file=sys.stderr, flush=True))
    return 0
