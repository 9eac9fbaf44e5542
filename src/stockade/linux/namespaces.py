"""Namespaces: making them, stepping into them, opening sockets inside them.

A network or mount namespace belongs to a *thread*, so all of this is safe in a process with many: work
inside another namespace happens in a short-lived thread that ends there. A user namespace belongs to a
process, so a child makes it.
"""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

FS, NEWNS, NEWUSER, NEWPID, NEWNET = 0x00000200, 0x00020000, 0x10000000, 0x20000000, 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x1000, 0x4000, 0x40000, 0x80000
_MNT_DETACH = 2

T = TypeVar("T")


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def setns(fd: int, kind: int = 0) -> None:
    """Move this thread into the namespace behind the descriptor; kind 0 takes whatever it is."""
    _check(_libc.setns(fd, kind), "setns")


def unshare(kinds: int) -> None:
    """Give this thread new namespaces of these kinds. With NEWUSER only in a process of one thread."""
    _check(_libc.unshare(kinds), "unshare")


def in_own_thread(function: Callable[[], T]) -> T:
    """Run it in a thread that ends with it, so that whatever namespaces it enters end too; its result or error."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as err:
            errors.append(err)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_netns(fd: int, function: Callable[[], T]) -> T:
    """Run it with the network of this namespace. Sockets it opens stay there, whoever uses them later."""

    def inside() -> T:
        setns(fd, NEWNET)
        return function()

    return in_own_thread(inside)


def in_private_mounts(function: Callable[[], T], base: int | None = None) -> T:
    """Run it in a mount namespace of its own: what it mounts, nobody else sees, and processes it starts inherit.

    The new namespace is a copy of the one behind the descriptor `base`, or of the caller's.
    """

    def inside() -> T:
        if base is not None:
            unshare(FS)  # a thread that shares its root and working directory may not enter
            setns(base, NEWNS)
        unshare(NEWNS)
        # Slave, not private: an unmount on the host must reach us, else we would pin what it wants to free.
        _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None), "mount --make-rslave /")
        return function()

    return in_own_thread(inside)


def new_mount_namespace() -> int:
    """A descriptor of a copy of the caller's mount namespace, kept while it is open; a base for in_private_mounts."""
    return in_private_mounts(lambda: os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))


def in_mounts(fd: int, function: Callable[[], T]) -> T:
    """Run it in the mount namespace behind the descriptor: what it mounts stays there."""

    def inside() -> T:
        unshare(FS)
        setns(fd, NEWNS)
        return function()

    return in_own_thread(inside)


def socket_in(fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the network namespace behind the descriptor, usable from any thread."""
    return in_netns(fd, lambda: socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol))


def open_netns(pid_or_path: int | str) -> int:
    """A descriptor of a process's network namespace, or of the one bound to a path."""
    path = f"/proc/{pid_or_path}/ns/net" if isinstance(pid_or_path, int) else pid_or_path
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def new_netns() -> int:
    """A descriptor of a new network namespace that lives as long as it is open (or a process is inside)."""

    def inside() -> int:
        unshare(NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return in_own_thread(inside)


def bind_netns(fd: int, path: str) -> None:
    """Give the namespace a name in the file system, so that it outlives us. `unbind_netns` takes it away."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        source = f"/proc/self/fd/{fd}".encode()
        _check(_libc.mount(source, path.encode(), None, ctypes.c_ulong(_MS_BIND), None), f"bind {path}")
    except OSError:
        os.unlink(path)
        raise


def unbind_netns(path: str) -> None:
    """Remove the name; the namespace goes with its last process, socket or descriptor. No effect when absent."""
    if not os.path.lexists(path):
        return
    _libc.umount2(path.encode(), _MNT_DETACH)
    os.unlink(path)


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """Descriptors of a user namespace and of a network namespace that it owns. The caller closes both."""

    user: int
    network: int

    def close(self) -> None:
        os.close(self.user)
        os.close(self.network)


def new_user_namespace(first_id: int, count: int) -> UserNamespace:
    """Uids and gids 0..count-1 inside are first_id.. outside; with a network namespace owned by it.

    Root inside then has every capability over that network and none over the host's.
    """
    # The child lives only until its namespaces are held open; cat answers as soon as it runs inside.
    with subprocess.Popen(
        ["unshare", "--user", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(b"\n")
            if not child.stdout.read(1):
                raise OSError("unshare could not make a user namespace")
            for table in ("uid_map", "gid_map"):
                with open(f"/proc/{child.pid}/{table}", "w", encoding="ascii") as out:
                    out.write(f"0 {first_id} {count}")
            user = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                network = open_netns(child.pid)
            except OSError:
                os.close(user)
                raise
        finally:
            child.kill()
    return UserNamespace(user, network)
