"""The journal: what Stockade made on this host, on disk before it is made.

One JSON object a line, appended and synced. The file is the only thing `stockade down --force` needs, so it
is read forgivingly: a torn last line (power cut, kill -9) is an object that was never made.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

from stockade.model.journal import HostObject

_MAKING, _REMOVED = "making", "removed"


def outstanding(entries: Iterable[tuple[str, HostObject]]) -> tuple[HostObject, ...]:
    """Objects said to be made and not said to be removed, in the order in which they were last made."""
    present: dict[HostObject, None] = {}
    for operation, thing in entries:
        if operation == _MAKING:
            present.setdefault(thing, None)
        else:
            for gone in _gone_with(thing, present):
                del present[gone]
    return tuple(present)


def _gone_with(thing: HostObject, present: Iterable[HostObject]) -> list[HostObject]:
    """The thing, if it is there; of a link also its filters and addresses, which the kernel removes with it."""
    if thing.kind != "link":
        return [thing] if thing in present else []
    mine = {(kind, thing.name) for kind in ("link", "filter", "address")}
    return [one for one in present if (one.kind, one.name) in mine]


def read_journal(path: Path) -> tuple[HostObject, ...]:
    """What the journal at `path` says is on this host; nothing when there is no such file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    return outstanding(_entries(text.splitlines()))


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, HostObject]]:
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            yield entry["op"], HostObject(entry["kind"], entry["name"], entry.get("detail", ""))


class FileJournal:
    """The Journal of model.journal, in a file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._present = dict.fromkeys(read_journal(path))
        self._rewrite()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @property
    def present(self) -> tuple[HostObject, ...]:
        """What is on the host now, oldest first."""
        with self._lock:
            return tuple(self._present)

    def making(self, *objects: HostObject) -> None:
        """These are about to be made; on disk when this returns. Those already written cost nothing."""
        with self._lock:
            new = [thing for thing in objects if thing not in self._present]
            self._append(_MAKING, new)
            self._present.update(dict.fromkeys(new))

    def removed(self, *objects: HostObject) -> None:
        """These are gone."""
        with self._lock:
            gone = [thing for thing in objects if thing in self._present]
            self._append(_REMOVED, gone)
            for thing in gone:
                for one in _gone_with(thing, self._present):
                    del self._present[one]

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, operation: str, objects: Iterable[HostObject]) -> None:
        text = "".join(_line(operation, thing) for thing in objects)
        if text:
            os.write(self._fd, text.encode())
            os.fsync(self._fd)

    def _rewrite(self) -> None:
        """Start with a file that holds only what is outstanding, whole or not at all."""
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8", opener=_private) as file:
            file.writelines(_line(_MAKING, thing) for thing in self._present)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)


def _line(operation: str, thing: HostObject) -> str:
    entry = {"op": operation, "kind": thing.kind, "name": thing.name}
    if thing.detail:
        entry["detail"] = thing.detail
    return json.dumps(entry) + "\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
