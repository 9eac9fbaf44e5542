"""Builds layers and keeps them: <directory>/<layer>-<digest>.squashfs.

    sources of the machine ─▶ mmdebstrap ─▶ tree ─▶ prepare script ─▶ mksquashfs ─▶ renamed into place

A layer is there whole or not at all. Several processes may ask for the same one: the first builds, the
others wait for it.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stockade.instances.images.recipes import FILES, RECIPES, Layer, Recipe
from stockade.instances.images.sources import fetch_settings, machine_sources
from stockade.linux.namespaces import in_private_mounts
from stockade.model.journal import HostObject, Journal

Progress = Callable[[str], None]

_TOOLS = {"mmdebstrap": "mmdebstrap", "mksquashfs": "squashfs-tools", "apt-config": "apt"}
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_STEPS = {  # what mmdebstrap says -> what we say
    "apt-get update": "reading the package lists",
    "downloading packages": "downloading packages",
    "extracting archives": "unpacking",
    "installing essential": "installing the essential packages",
    "installing remaining": "installing the servers",
}
# Somebody waits for an instance; the machine's own settings come after these and win.
_PATIENCE = 'Acquire::http::Timeout "20"; Acquire::https::Timeout "20"; Acquire::Retries "1";\n'
_OFFLINE = ("Could not resolve", "Failed to fetch", "Temporary failure", "Could not connect", "Unable to connect")


class ImageUnavailable(Exception):
    """The image cannot be had; the text says why and what helps, for the owner of the machine."""


class Images:
    """The images of one site. Methods block and may be called from several threads."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal

    @property
    def directory(self) -> Path:
        """Where layers are kept."""
        return self._directory

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name. Raises ImageUnavailable."""
        if name not in RECIPES:
            raise ImageUnavailable(f"there is no image recipe {name!r}; there are {', '.join(RECIPES)}")
        return RECIPES[name]

    def find(self, layer: Layer) -> Path | None:
        """The layer's file when it has been built."""
        path = self._path(layer)
        return path if path.exists() else None

    def missing(self, names: Iterator[str] | list[str] | tuple[str, ...]) -> list[Layer]:
        """The layers that these recipes need and that are not built yet, each once."""
        layers = {self.recipe(name).layer.name: self.recipe(name).layer for name in names}
        return [layer for layer in layers.values() if self.find(layer) is None]

    def ensure(self, layer: Layer, progress: Progress = lambda line: None) -> Path:
        """The layer's file, built now if need be. Raises ImageUnavailable."""
        path = self._path(layer)
        if path.exists():
            return path
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._alone(layer):
            if not path.exists():  # another process may have built it while we waited
                self._build(layer, path, progress)
        return path

    def unpacked(self, layer: Layer) -> Path:
        """The layer's files as a directory, for a kernel that cannot use the packed form. Raises ImageUnavailable."""
        packed = self.ensure(layer)
        tree = packed.with_suffix(".tree")
        with self._alone(layer):
            if not tree.exists():
                self._check_space(layer)
                scratch = self._directory / f".unpacking-{layer.name}"
                shutil.rmtree(scratch, ignore_errors=True)
                _run(["unsquashfs", "-quiet", "-no-progress", "-dest", str(scratch), str(packed)])
                os.replace(scratch, tree)
        return tree

    def _path(self, layer: Layer) -> Path:
        return self._directory / f"{layer.name}-{layer.digest}.squashfs"

    @contextmanager
    def _alone(self, layer: Layer) -> Iterator[None]:
        lock = os.open(self._directory / f".{layer.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _build(self, layer: Layer, path: Path, progress: Progress) -> None:
        self._check_tools()
        self._check_space(layer)
        progress(f"building image layer {layer.name} ({layer.disk_mb} MB of disk while building, {layer.takes})")
        scratch = self._directory / f".building-{layer.name}"
        made = HostObject("directory", str(scratch))
        self._journal.making(made)
        shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed
        (scratch / "sources").mkdir(parents=True)
        try:
            # In mounts of its own: what mmdebstrap mounts in the tree vanishes with it, however it ends.
            in_private_mounts(lambda: self._bootstrap(layer, scratch, progress))
            progress(f"packing {layer.name}")
            packed = scratch / "packed"
            _run(["mksquashfs", str(scratch / "tree"), str(packed), "-comp", "lz4", "-noappend", "-no-progress"])
            os.replace(packed, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            self._journal.removed(made)
        self._remove_older(layer, path)
        progress(f"image layer {layer.name} is ready ({path.stat().st_size >> 20} MB)")

    def _bootstrap(self, layer: Layer, scratch: Path, progress: Progress) -> None:
        try:
            codename, sources = machine_sources(scratch / "sources")
        except (OSError, subprocess.CalledProcessError) as err:
            raise ImageUnavailable(f"cannot build {layer.name}: {err}") from err
        settings = scratch / "apt.conf"
        settings.write_text(_PATIENCE + fetch_settings() + 'APT::Install-Recommends "false";\n', encoding="utf-8")
        command = [
            *("mmdebstrap", "--mode=root", f"--variant={layer.variant}", f"--include={','.join(layer.packages)}"),
            *("--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT)),
            *(f"--aptopt={settings}", codename, str(scratch / "tree"), *map(str, sources)),
        ]
        _run_with_progress(command, layer, progress)
        progress(f"{layer.name}: preparing")
        _run(["sh", str(FILES / layer.prepare), str(scratch / "tree"), str(FILES)])

    def _check_tools(self) -> None:
        absent = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
        if absent:
            raise ImageUnavailable(f"building images needs {' and '.join(absent)}: apt-get install {' '.join(absent)}")

    def _check_space(self, layer: Layer) -> None:
        stat = os.statvfs(self._directory)
        free_mb = stat.f_bavail * stat.f_frsize >> 20
        if free_mb < layer.disk_mb:
            raise ImageUnavailable(
                f"image layer {layer.name} needs {layer.disk_mb} MB in {self._directory}; {free_mb} MB are free"
            )

    def _remove_older(self, layer: Layer, path: Path) -> None:
        # A running instance keeps its mount of an older file: unlinking it takes nothing from anybody.
        for older in self._directory.glob(f"{layer.name}-*.squashfs"):
            if older != path:
                older.unlink(missing_ok=True)
                shutil.rmtree(older.with_suffix(".tree"), ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageUnavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _run_with_progress(command: list[str], layer: Layer, progress: Progress) -> None:
    said: list[str] = []
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            said.append(line.rstrip())
            for marker, step in _STEPS.items():
                if line.startswith("I: ") and marker in line:
                    progress(f"{layer.name}: {step}")
    if child.returncode == 0:
        return
    errors = [line for line in said if line.startswith(("E:", "Err:")) or " error" in line.lower()][-6:] or said[-6:]
    why = "\n  ".join(errors)
    if any(sign in line for sign in _OFFLINE for line in said):
        raise ImageUnavailable(
            f"image {layer.name} is not built yet and this machine's package sources cannot be reached; "
            f"go online once and try again, later no network is needed\n  {why}"
        )
    raise ImageUnavailable(f"building image layer {layer.name} failed\n  {why}")
