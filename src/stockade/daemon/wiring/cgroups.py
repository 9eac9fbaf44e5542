"""Which cgroups of a site's name somebody lives in."""

from pathlib import Path

from stockade.instances.container.cgroups import Cgroups, current_hierarchies, is_inhabited


def inhabited_cgroups(site: str) -> list[Path]:
    """Those that instances of this site would share, whoever made them."""
    return [place for place in Cgroups(site, current_hierarchies()).tops if is_inhabited(place)]


def sees_cgroups() -> bool:
    """Whether any hierarchy is mounted where this process looks."""
    return bool(current_hierarchies())
