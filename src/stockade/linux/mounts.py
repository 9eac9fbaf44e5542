"""Mounts: image files through loop devices, id-mapped views, overlays.

They happen in the mount namespace of the calling thread; namespaces.in_private_mounts gives it one of its
own, and then nothing mounted here is seen by anyone else.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

RDONLY, NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE = 0x1, 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
_DETACH = 2

# One table of numbers for all architectures since Linux 5.1.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_ATTR_RDONLY, _ATTR_IDMAP = 0x1, 0x00100000
_ATTR = struct.Struct("=QQQQ")  # set, clear, propagation, descriptor of the user namespace

_LOOP_CONFIGURE, _LOOP_CLR_FD, _LOOP_CTL_REMOVE, _LOOP_CTL_GET_FREE = 0x4C0A, 0x4C01, 0x4C81, 0x4C82
_GONE = (errno.ENOENT, errno.ENXIO, errno.ENODEV)
_LOOP_MAJOR = 7
_READ_ONLY, _AUTOCLEAR = 1, 4
# device, inode, rdevice, offset, size limit, number, encryption (two), flags, file name, key name, key, init (two)
_LOOP_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """mount(2). Options as the file system spells them, joined by commas; kind None for a bind mount."""
    file_system = None if kind is None else kind.encode()
    result = _libc.mount(source.encode(), target.encode(), file_system, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {kind or 'bind'} on {target}")


def unmount(target: str, *, detach: bool = False) -> bool:
    """Take away the topmost mount there; False when nothing is mounted (or there is no such place)."""
    if _libc.umount2(target.encode(), _DETACH if detach else 0) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOENT):
        return False
    raise OSError(code, f"unmount {target}: {os.strerror(code)}")


def is_mount(target: str) -> bool:
    """Whether something is mounted exactly there."""
    wanted = os.path.realpath(target)
    return any(place == wanted for place, _, _ in mount_table())


def mount_table() -> Iterator[tuple[str, str, str]]:
    """Place, file system type and source of every mount that this thread sees."""
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            kind, source = after.split(" ")[:2]
            yield _unescaped(before.split(" ")[4]), kind, _unescaped(source)


def _unescaped(text: str) -> str:
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, plain)
    return text


def mount_image(image: Path, target: Path, kind: str = "squashfs", *, writable: bool = False) -> str:
    """Mount an image file. Returns the loop device; it frees itself when its last mount goes."""
    device, held = _loop_device(image, writable)
    try:
        mount(device, str(target), kind, NODEV | (0 if writable else RDONLY))
    finally:
        os.close(held)  # only now: until the mount holds the device, this descriptor keeps it from clearing
    return device


def _loop_device(image: Path, writable: bool) -> tuple[str, int]:
    """A loop device over the file and the descriptor that holds it."""
    backing = os.open(image, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
    control = -1
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        name = os.fsencode(image)[:63]
        flags = _AUTOCLEAR | (0 if writable else _READ_ONLY)
        info = _LOOP_INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
        config = struct.pack("=II", backing, 0) + info + bytes(64)
        while True:
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = f"/dev/loop{number}"
            if not os.path.exists(device):  # no udev in a container: the node is ours to make
                os.mknod(device, stat.S_IFBLK | 0o660, os.makedev(_LOOP_MAJOR, number))
            try:
                held = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            except OSError as err:
                if err.errno in _GONE:  # another process removed it between the two calls
                    continue
                raise
            try:
                fcntl.ioctl(held, _LOOP_CONFIGURE, config)
            except OSError as err:
                os.close(held)
                if err.errno == errno.EBUSY:  # another process took it between the two calls
                    continue
                raise
            return device, held
    finally:
        os.close(backing)
        if control >= 0:
            os.close(control)


def detach_loop(device: str) -> None:
    """Free the loop device, at once or when its last mount goes. No effect on one that is free."""
    opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(opened, _LOOP_CLR_FD, 0)
    except OSError as err:
        if err.errno != errno.ENXIO:
            raise
    finally:
        os.close(opened)


def loop_over(image: Path) -> str | None:
    """The loop device over this file; None when there is none."""
    wanted = str(image)
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # freed meanwhile
            if backing.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n") == wanted:
                return f"/dev/{backing.parts[3]}"
    return None


def remove_loop(device: str) -> bool:
    """Take a loop device that is free off the system, as if it had never been asked for. False while it is in use.

    The few that every system starts with stay.
    """
    number = int(device.removeprefix("/dev/loop"))
    try:
        if number < int(Path("/sys/module/loop/parameters/max_loop").read_text(encoding="ascii")):
            return True
    except FileNotFoundError:
        return True  # built in, and does not say
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
    except OSError as err:
        return err.errno in _GONE
    finally:
        os.close(control)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(device)  # where no devtmpfs does it
    return True


def mount_idmapped(source: Path, target: Path, user_namespace: int, *, read_only: bool = True) -> None:
    """Show `source` at `target` with its owners mapped: uid N on disk is uid N of that user namespace.

    Raises OSError EINVAL when the file system (of this kernel) cannot be mapped.
    """
    tree = _check(
        _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC),
        f"open_tree {source}",
    )
    try:
        setting = _ATTR_IDMAP | (_ATTR_RDONLY if read_only else 0)
        attr = _ATTR.pack(setting, 0, 0, user_namespace)
        result = _libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attr, ctypes.c_size_t(len(attr)))
        _check(result, f"id-map {source}")
        result = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        _check(result, f"move_mount {target}")
    finally:
        os.close(tree)


def mount_overlay(target: Path, lower: Path, upper: Path, work: Path) -> None:
    """A writable view: `lower` with the changes kept in `upper`; `work` is an empty sibling of `upper`."""
    mount("overlay", str(target), "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
