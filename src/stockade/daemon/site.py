"""A site on this host: its run directory, who runs it, and the credentials it left for its owner.

/run/<site>/            0755 root
  agent                 pid and start time of the agent, locked while it lives
  journal               what was made on the host
  credentials.json      endpoint and admin key, 0600, owned by who called sudo
  log                   of `up -d`
"""

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stockade.daemon.problems import USAGE, Problem
from stockade.daemon.settings import Settings
from stockade.linux.processes import ProcessId


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `stockade env` prints and the other commands sign with."""

    endpoint: str
    access_key: str
    secret_key: str
    account: str
    region: str


class Site:
    """The files of one site's run directory."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.journal = self.directory / "journal"
        self.log = self.directory / "log"
        self._agent = self.directory / "agent"
        self._credentials = self.directory / "credentials.json"

    @classmethod
    def to_run(cls, settings: Settings) -> "Site":
        """Where a daemon of these settings would keep its files."""
        return cls(settings.site, settings.run_directory)

    @classmethod
    def to_ask(cls, settings: Settings) -> "Site":
        """The site that runs: the system's, else the user's own."""
        system = cls(settings.site, settings.system_run_directory)
        own = cls(settings.site, settings.own_run_directory)
        return system if system.agent() is not None or not own.directory.is_dir() else own

    def make_directory(self) -> None:
        """The run directory, ours alone. Raises Problem when something else of this host lives there already."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        strangers = sorted(set(os.listdir(self.directory)) - _RUN_FILES)
        if strangers:
            raise Problem(
                f"{self.directory} belongs to something else",
                why=f"it holds {strangers[0]}",
                attempt="choose another site.name: STOCKADE_SITE=other stockade up",
                code=USAGE,
            )

    def take(self) -> int:
        """Become this site's agent; the lock is held as long as the descriptor is open. Raises Problem."""
        self.make_directory()
        fd = self._lock()
        if fd is None:
            running = self.agent()
            raise Problem(
                f"site {self.name!r} is running already" + (f" (process {running.pid})" if running else ""),
                attempt="stockade status        (or another site: STOCKADE_SITE=other stockade up)",
                code=USAGE,
            )
        me = ProcessId.of(os.getpid())
        assert me is not None
        os.truncate(fd, 0)
        os.pwrite(fd, f"{me.pid} {me.started}\n".encode(), 0)
        return fd

    @contextlib.contextmanager
    def alone(self, within_s: float = 10.0) -> Iterator[None]:
        """Nobody else starts, runs or removes this site meanwhile. Raises Problem when somebody does all that time."""
        present = set(os.listdir(self.directory)) if self.directory.is_dir() else set()
        if not present or present - _RUN_FILES:
            yield  # nothing, or somebody else's
            return
        until = time.monotonic() + within_s
        while (fd := self._lock()) is None:
            if time.monotonic() > until:
                running = self.agent()
                raise Problem(
                    f"site {self.name!r} is in other hands" + (f" (process {running.pid})" if running else ""),
                    why="another command starts or removes it",
                    attempt="the same again",
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            os.close(fd)

    def _lock(self) -> int | None:
        """The descriptor that holds the lock; None when somebody else has it."""
        while True:
            try:
                fd = os.open(self._agent, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                self.make_directory()
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(self._agent)):
                    return fd
            os.close(fd)  # whoever had it has removed the site since; what is there now is another file

    def agent(self) -> ProcessId | None:
        """The agent that runs now."""
        with contextlib.suppress(OSError, ValueError):
            pid, started = self._agent.read_text(encoding="ascii").split()
            process = ProcessId(int(pid), started)
            return process if process.alive else None
        return None

    def write_credentials(self, credentials: Credentials, owner: tuple[int, int]) -> None:
        """Readable by `owner` (uid, gid) alone."""
        fresh = self._credentials.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchown(fd, *owner)
            json.dump(asdict(credentials), file)
            file.write("\n")
        os.replace(fresh, self._credentials)

    def credentials(self) -> Credentials | None:
        """None when the site is not there. Raises Problem when they are somebody else's."""
        try:
            return Credentials(**json.loads(self._credentials.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except PermissionError as err:
            raise Problem(
                f"the credentials of site {self.name!r} belong to another user",
                why=f"{self._credentials} is readable by its owner alone",
                attempt="run the command as the user who started it, or with sudo",
                code=USAGE,
            ) from err

    def forget(self, keep: bool = False) -> None:
        """Remove the files; `keep`: those stay that a later `up` or `down --force` needs.

        A directory that holds anything else is not ours: a site's name may be that of another program in /run.
        """
        if keep:
            for name in ("credentials.json", "agent"):
                (self.directory / name).unlink(missing_ok=True)
            return
        present = set(os.listdir(self.directory)) if self.directory.is_dir() else set()
        if present and not present - _RUN_FILES:
            shutil.rmtree(self.directory, ignore_errors=True)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log; nothing when there is none, or it cannot be read."""
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 200 * lines, 0))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return ""


def caller_ids() -> tuple[int, int]:
    """Whose command this is: the user behind sudo, else who we are."""
    return int(os.environ.get("SUDO_UID") or os.getuid()), int(os.environ.get("SUDO_GID") or os.getgid())


def prepare_state(directory: Path, user: int) -> None:
    """A directory of our own in which the control process (`user`) may write, and touch nothing of root's.

    Sticky, so that it cannot rename what the agent keeps beside the database (images, instances, its last view); and
    those are made here, so that it cannot make them first, as links to wherever it wants root to write.
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    about = directory.stat()
    strangers = [entry for entry in os.listdir(directory) if not entry.startswith(_OURS)]
    if about.st_uid != 0 or strangers:
        raise Problem(
            f"{directory} cannot hold the state",
            why=f"it also holds {strangers[0]}" if strangers else "it does not belong to root",
            attempt="set state.path to a file in a new directory",
            code=USAGE,
        )
    for name in _OF_THE_AGENT:
        place = directory / name
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o755)
        kept = place.lstat()
        if not stat.S_ISDIR(kept.st_mode) or kept.st_uid != 0:
            raise Problem(
                f"{place} cannot be trusted",
                why="it is not a directory of root's, and root runs what lies there",
                attempt=f"rm -r {place}        (images are built again)",
                code=USAGE,
            )
    os.chown(directory, 0, user)
    directory.chmod(0o1771)


_OF_THE_AGENT = ("images", "instances", "agent")
_OURS = ("state.db", "stockade.log", *_OF_THE_AGENT)
_RUN_FILES = frozenset(
    ("agent", "journal", "journal.new", "view", "view.new", "credentials.json", "credentials.new", "log")
) | {"services", "runtime"}  # the services namespace's name, the container runtime's state
