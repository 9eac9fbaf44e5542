"""The mounts of a launch, where nobody else sees them.

    base (held open)        one mount for each image, a copy of the host's otherwise
     └─ a launch's own      tmpfs ─ lower: the image, id-mapped ─ disk ─ root: overlay  ─▶ inherited by the runtime

One mount an image and not one a launch: instances share its cached pages. The base goes with this process, the
image's loop device with its last instance.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stockade.instances.images.build import Images
from stockade.instances.images.recipes import Layer
from stockade.linux import mounts
from stockade.linux.namespaces import in_mounts, in_private_mounts, new_mount_namespace

# Any directory that systems have and that everybody may pass will do: it is covered in our own namespaces only.
_CANDIDATES = ("/media", "/mnt", "/srv", "/opt")

T = TypeVar("T")


class LaunchMounts:
    """Safe to use from several threads."""

    def __init__(self, images: Images, *needed: Path) -> None:
        """`needed`: what must stay visible to launches."""
        self._place = place_beside(*needed, images.directory)
        self._launch = self._place / "launch"
        self._images = images
        self._lock = threading.Lock()
        self._base: int | None = None
        self._lowers: dict[Path, Path] = {}

    @property
    def root(self) -> Path:
        """Where a launch's root file system is, in its own mount namespace."""
        return self._launch / "root"

    def with_root(self, layer: Layer, user_namespace: int, disk: Path, function: Callable[[], T]) -> T:
        """Run it where the instance's root is mounted at `root`. OSError when that fails.

        `disk`: a directory, or a file with a file system in it, that has `upper` and `work`.
        """
        lower = self._lower(layer, user_namespace)

        def inside() -> T:
            mounts.mount("launch", str(self._launch), "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=755,size=64k")
            for name in ("lower", "root", "disk"):
                (self._launch / name).mkdir()
            mounts.mount_idmapped(lower, self._launch / "lower", user_namespace)
            written = disk
            if disk.is_file():
                written = self._launch / "disk"
                mounts.mount_image(disk, written, "ext4", writable=True)
            mounts.mount_overlay(self.root, self._launch / "lower", written / "upper", written / "work")
            return function()

        return in_private_mounts(inside, self._base)

    def _lower(self, layer: Layer, user_namespace: int) -> Path:
        """Where the layer's files are in the base namespace, mappable."""
        with self._lock:
            file = self._images.ensure(layer)
            if file not in self._lowers:
                self._lowers[file] = self._add(layer, file, user_namespace)
            return self._lowers[file]

    def _add(self, layer: Layer, file: Path, user_namespace: int) -> Path:
        if self._base is None:
            self._base = new_mount_namespace()
            in_mounts(self._base, self._furnish)
        place = self._place / file.stem

        def mount_it() -> None:
            place.mkdir(exist_ok=True)
            mounts.mount_image(file, place)

        in_mounts(self._base, mount_it)
        if self._can_map(self._base, place, user_namespace):
            return place
        # Linux before 6.2 cannot map squashfs: there the unpacked files are the lower layer.
        in_mounts(self._base, lambda: mounts.unmount(str(place)))
        return self._images.unpacked(layer)

    def _furnish(self) -> None:
        mounts.mount("images", str(self._place), "tmpfs", mounts.NOSUID | mounts.NODEV, "mode=755,size=64k")
        self._launch.mkdir()

    def _can_map(self, base: int, place: Path, user_namespace: int) -> bool:
        try:
            in_private_mounts(lambda: mounts.mount_idmapped(place, self._launch, user_namespace), base)
        except OSError as err:
            if err.errno == errno.EINVAL:
                return False
            raise
        return True

    def close(self) -> None:
        """Let go of the images. Running instances keep what they have."""
        with self._lock:
            if self._base is not None:
                os.close(self._base)
            self._base = None
            self._lowers = {}


def place_beside(*needed: Path) -> Path:
    """A directory to cover that hides nothing of what is needed. OSError when this system has none."""
    for candidate in map(Path, _CANDIDATES):
        hidden = any(path.resolve().is_relative_to(candidate) for path in needed)
        if candidate.is_dir() and not candidate.is_symlink() and not hidden:
            return candidate
    raise OSError(errno.ENOENT, f"no directory to mount images on: {', '.join(_CANDIDATES)}")
