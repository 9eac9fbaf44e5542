"""`stockade up` and `stockade down`."""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stockade.cli.stockade.durations import seconds
from stockade.cli.stockade.tables import coloured, print_json, unicode_marks
from stockade.daemon import down as ending
from stockade.daemon import log, settings
from stockade.daemon.problems import DEGRADED, OUR_BUG, TIMED_OUT, Problem
from stockade.daemon.settings import Settings
from stockade.daemon.site import Site

# ruff: noqa: PLC0415 - what is imported inside is needed by one way of starting only


def up(options: Mapping[str, str], config: Path | None, detach: bool, wait: str) -> int:
    """The exit code; in the foreground when the daemon ends, else when it is ready."""
    chosen = settings.load(options, config=config)
    for path in chosen.ignored:
        _say(f"warning: {path} is not read: we are root, and it (or a directory above it) is not root's alone")
    if not detach:
        log.set_up("agent", os.environ.get("STOCKADE_LOG"))
        return _live(chosen, _tell_step, lambda: _tell_ready(chosen))
    return _detached(chosen, seconds(wait))


def dry_run(options: Mapping[str, str], config: Path | None, as_json: bool) -> int:
    """What `up` would make on this host, one thing a line."""
    from stockade.daemon import forecast

    things = forecast.what_up_makes(settings.load(options, config=config))
    if as_json:
        print_json({"objects": [{"kind": t.kind, "name": t.name, "detail": t.detail} for t in things]})
        return 0
    for thing in things:
        print(f"{thing.kind:<10} {thing.name}{'  ' + thing.detail if thing.detail else ''}")
    return 0


def down(config: Path | None, keep: bool, force: bool) -> int:
    """0: nothing of Stockade is left (`keep`: but what was asked to stay); 6: what is listed could not be removed."""
    if keep and force:
        raise Problem("--keep and --force exclude each other", code=2)
    chosen = settings.load(config=config)
    site = Site.to_ask(chosen)
    if os.geteuid() != 0 and site.directory == chosen.system_run_directory and site.directory.exists():
        raise Problem("this process may not stop the daemon", why="it runs as root", attempt="sudo stockade down")
    ended = ending.force(site) if force else ending.end(site, keep)
    if not ended.was_running and not ended.removed and not ended.left:
        _say(f"site {site.name!r} is not running, and its journal has nothing to remove")
        return 0
    counts: dict[str, int] = {}
    for thing in ended.removed:
        counts[thing.kind] = counts.get(thing.kind, 0) + 1
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    _say(f"{_mark()} stopped" + (f"; removed from the journal: {told}" if told else "") + ("; rest kept" * keep))
    for failure in ended.left:
        _say(f"{_cross()} not removed: {failure.thing.kind} {failure.thing.name}: {failure.why}")
    return DEGRADED if ended.left else 0


def _live(chosen: Settings, tell: Callable[[str, float], None], ready: Callable[[], None]) -> int:
    if not chosen.enforcing:
        from stockade.daemon import model_only

        return model_only.live(chosen, tell, ready)
    from stockade.daemon import run

    return run.live(chosen, tell, ready)


def _detached(chosen: Settings, within_s: float) -> int:
    """Fork before anything slow is imported; the child says on a pipe how far it is."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_daemon(chosen, writing)
    os.close(writing)
    try:
        for line in _lines_until(reading, time.monotonic() + within_s):
            code = _heard(json.loads(line), chosen)
            if code is not None:
                return code
    except TimeoutError:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        _say(f"error: not ready within {within_s:.0f} s; what was half made is removed again")
        return TIMED_OUT
    except KeyboardInterrupt:
        os.kill(child, signal.SIGINT)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(reading)
    _say(f"error: the daemon ended before it was ready\n  see:  {Site.to_run(chosen).log}")
    return OUR_BUG


def _lines_until(fd: int, deadline: float) -> Iterator[bytes]:
    """Lines as they come, until the other end closes. Raises TimeoutError."""
    pending = b""
    while True:
        if not select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError
        received = os.read(fd, 65536)
        if not received:
            return
        *lines, pending = (pending + received).split(b"\n")
        yield from lines


def _heard(message: dict[str, Any], chosen: Settings) -> int | None:
    """Print it; the exit code when it was the last word."""
    if "step" in message:
        _tell_step(message["step"], message["took_s"])
        return None
    if "problem" in message:
        for line in message["problem"]:
            _say(line)
        return int(message["code"])
    _tell_ready(chosen)
    return 0


def _be_daemon(chosen: Settings, writing: int) -> None:
    """Never returns."""
    os.setsid()
    with open(writing, "w", encoding="utf-8", buffering=1) as pipe:

        def say(**message: Any) -> None:
            try:
                pipe.write(json.dumps(message) + "\n")
            except (OSError, ValueError):
                return  # nobody waits any more

        def ready() -> None:
            say(ready=True)
            pipe.close()

        code = OUR_BUG
        try:
            _redirect(Site.to_run(chosen))
            log.set_up("agent", os.environ.get("STOCKADE_LOG") or "info")
            code = _live(chosen, lambda step, took_s: say(step=step, took_s=took_s), ready)
        except Problem as problem:
            code = problem.code
            say(problem=problem.lines(), code=code)
        except BaseException as err:
            import traceback

            traceback.print_exc()
            say(problem=[f"error: Stockade itself failed: {type(err).__name__}: {err}"], code=code)
        finally:
            sys.stderr.flush()
            os._exit(code)


def _redirect(site: Site) -> None:
    site.make_directory()
    log_fd = os.open(site.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.chdir("/")


def _tell_step(step: str, took_s: float) -> None:
    mark = coloured(_mark(), "green")
    _say(f"{mark} {step:<54} {took_s:.1f} s")


def _tell_ready(chosen: Settings) -> None:
    told = "" if chosen.enforcing else "  enforcing: none (groups are only stored)"
    _say(f"Ready. Endpoint {chosen.endpoint}{told}")
    _say('Next: eval "$(stockade env)" && aws ec2 describe-security-groups')


def _mark() -> str:
    return "✓" if unicode_marks() else "ok"


def _cross() -> str:
    return "✗" if unicode_marks() else "XX"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
