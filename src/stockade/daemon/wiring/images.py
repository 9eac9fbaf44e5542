"""The catalogue of images on this host, for the driver and for `stockade image`."""

from stockade.daemon.problems import Problem
from stockade.daemon.settings import Settings
from stockade.instances.images.build import Images, ImageUnavailable, Progress
from stockade.instances.images.recipes import RECIPES, Recipe
from stockade.model.journal import Journal


def make_images(settings: Settings, journal: Journal) -> Images:
    """The images of this site; they stay when the site ends."""
    return Images(settings.images_directory, journal)


def recipes() -> tuple[Recipe, ...]:
    """All there are, the quickest to build first."""
    return tuple(RECIPES.values())


def build(images: Images, names: list[str], progress: Progress) -> None:
    """Those that are missing, one after the other. Raises Problem."""
    try:
        for layer in images.missing(names):
            images.ensure(layer, progress)
    except ImageUnavailable as err:
        raise Problem(str(err), see="stockade doctor") from err
