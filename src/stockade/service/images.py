"""Images: the catalogue."""

from collections.abc import Sequence
from dataclasses import replace

from stockade.model.errors import ImageNotFound
from stockade.model.ids import AccountId, ImageId, check_id
from stockade.model.image import Image
from stockade.model.resources import Resources, put
from stockade.service.caller import Caller
from stockade.service.cell import Cell, CellSettings, Decision

CATALOGUE_OWNER = AccountId("000000000000")

CATALOGUE = tuple(
    Image(ImageId(id), CATALOGUE_OWNER, recipe, f"stockade-images/{recipe}.manifest.xml", recipe, description)
    for id, recipe, description in (
        ("ami-eca54085", "micro", "BusyBox with an SSH server: starts in a moment"),
        ("ami-fba54092", "web", "Debian with Apache on port 80 and OpenSSH"),
        ("ami-e3a5408a", "app", "Debian with an application on port 8080 and OpenSSH"),
        ("ami-f1a54098", "database", "Debian with MariaDB on port 3306 and OpenSSH"),
        ("ami-01ba5e00", "base", "Debian with OpenSSH"),
    )
)
BASE = next(image for image in CATALOGUE if image.recipe == "base")


def find_image(resources: Resources, settings: CellSettings, id: str) -> Image:
    """The image that a launch of this id starts, under the id that was asked for.

    Setting `[images] alias` maps an id to a catalogue id or recipe, `unknown = "base"` any other to the base image.
    """
    asked = ImageId(check_id(id, "ami"))
    named = settings.image_alias.get(asked, asked)
    known = resources.images.get(ImageId(named)) or next((i for i in CATALOGUE if i.recipe == named), None)
    if known is None and settings.image_unknown == "base":
        known = resources.images.get(BASE.id)
    if known is None:
        raise ImageNotFound(id)
    return replace(known, id=asked)


class Images:
    """Use cases of images."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def describe(self, caller: Caller, ids: Sequence[str] = ()) -> list[Image]:
        """Public images and the caller's own, all or those named. Raises ImageNotFound, IdMalformed."""
        images = self._cell.resources.images
        if ids:
            found = [find_image(self._cell.resources, self._cell.settings, id) for id in dict.fromkeys(ids)]
            for image in found:
                if not _visible(image, caller):
                    raise ImageNotFound(image.id)
            return found
        return sorted((image for image in images.values() if _visible(image, caller)), key=lambda image: image.id)

    async def seed(self) -> None:
        """Bring the stored catalogue to this release's."""

        def decide() -> Decision[None]:
            images = self._cell.resources.images
            new = [put(image) for image in CATALOGUE if images.get(image.id) != image]
            return Decision([self._cell.unchanged(change.key) for change in new], new, None)

        await self._cell.write(decide, on="catalogue", enforced=False)


def _visible(image: Image, caller: Caller) -> bool:
    return image.is_public or image.owner == caller.account.id
