import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from stockade.instances.images.build import Images, ImageUnavailable
from stockade.instances.images.recipes import FILES, MICRO, RECIPES, SERVER
from stockade.model.journal import NoJournal


def test_the_walkthroughs_recipes_are_in_the_catalogue() -> None:
    assert set(RECIPES) == {"micro", "base", "web", "app", "database"}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_ends_with_its_ssh_server_and_the_boot_agent_knows_its_services(recipe: object) -> None:
    boot = (FILES / "boot.sh").read_text(encoding="utf-8")
    assert recipe.ssh in ("sshd", "dropbear")  # type: ignore[attr-defined]
    for service in recipe.services:  # type: ignore[attr-defined]
        assert f"start_{service}()" in boot


def test_a_layer_is_known_by_what_goes_into_it() -> None:
    assert MICRO.digest != SERVER.digest
    assert len(MICRO.digest) == 16


@pytest.mark.parametrize("script", sorted(FILES.iterdir()), ids=lambda file: file.name)
def test_our_scripts_are_posix_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_no_file_of_ours_names_a_host() -> None:
    for script in FILES.iterdir():
        text = script.read_text(encoding="utf-8")
        assert "://" not in text.replace("http://www.w3.org", "")


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ImageUnavailable, match="there are micro, base, web, app, database"):
        Images(tmp_path, NoJournal()).recipe("nosuch")


def test_layers_that_are_missing_are_named_once(tmp_path: Path) -> None:
    images = Images(tmp_path, NoJournal())
    assert images.missing(["web", "app", "database", "micro"]) == [SERVER, MICRO]
    (tmp_path / f"micro-{MICRO.digest}.squashfs").touch()
    assert images.missing(["micro"]) == []
    assert images.ensure(MICRO) == images.find(MICRO)


def test_a_full_disk_is_noticed_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=20, f_frsize=1 << 20))
    monkeypatch.setattr("shutil.which", lambda _: "/bin/true")
    with pytest.raises(ImageUnavailable, match=r"needs 150 MB in .*; 20 MB are free"):
        Images(tmp_path, NoJournal()).ensure(MICRO)


def test_missing_tools_are_named_by_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ImageUnavailable, match="apt-get install mmdebstrap squashfs-tools apt"):
        Images(tmp_path, NoJournal()).ensure(MICRO)
