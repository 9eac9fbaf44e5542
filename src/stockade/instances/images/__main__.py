"""python -m stockade.instances.images DIRECTORY RECIPE...: build what is missing there, telling how it goes.

For whoever starts a daemon where the package sources cannot be reached (a namespace without an uplink).
"""

import sys
from pathlib import Path

from stockade.instances.images.build import Images, ImageUnavailable
from stockade.model.journal import NoJournal


def main(directory: str, *names: str) -> int:
    """0 when all are there, 3 when one cannot be had."""
    images = Images(Path(directory), NoJournal())
    try:
        for layer in images.missing(names):
            images.ensure(layer, lambda line: print(line, flush=True))
    except ImageUnavailable as err:
        print(err, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
