"""Images: the catalogue."""

from collections.abc import Sequence

from stockade.model.image import Image
from stockade.service.caller import Caller
from stockade.service.cell import Cell


class Images:
    """Use cases of images."""

    def __init__(self, cell: Cell) -> None: ...

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Image]:
        """Public images and the caller's own, all or those named. Raises ImageNotFound, IdMalformed."""
