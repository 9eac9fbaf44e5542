"""An instance's console: a file that everything it prints is appended to, kept within bounds."""

import os
from pathlib import Path

SHOWN = 64 << 10
_LONGEST = 4 << 20


def open_console(path: Path) -> int:
    """A descriptor to append to; the caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def tail(path: Path) -> bytes:
    """The last 64 KiB; nothing when there is no such file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - SHOWN))
            return file.read()
    except FileNotFoundError:
        return b""


def trim(path: Path) -> None:
    """Cut a console that has grown past 4 MiB down to its tail. What is printed meanwhile may be lost."""
    try:
        if path.stat().st_size <= _LONGEST:
            return
    except FileNotFoundError:
        return
    kept = tail(path)
    # Truncated in place: the instance holds the file open for appending, so it goes on behind what we write.
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(kept)
