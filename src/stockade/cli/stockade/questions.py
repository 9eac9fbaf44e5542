"""`stockade status` and `config`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stockade.cli.stockade import durations
from stockade.cli.stockade.connection import credentials, native, site
from stockade.cli.stockade.tables import coloured, print_json, print_table
from stockade.daemon import settings
from stockade.daemon.problems import DEGRADED


def status(as_json: bool) -> int:
    """0 ready, 3 not reachable, 6 running but not (or no longer) as it should be."""
    caller = credentials()
    health = native(caller, "GET", "health").document
    up_since = _up_since()
    if as_json:
        print_json({**health, "endpoint": caller.endpoint, "up_since": up_since.isoformat() if up_since else None})
    else:
        for line in status_lines(health, up_since, datetime.now(UTC)):
            print(line)
    return 0 if health.get("status") == "ready" else DEGRADED


def status_lines(health: dict[str, Any], up_since: datetime | None, now: datetime) -> list[str]:
    """What `stockade status` prints for a health document."""
    enforcement = health.get("enforcement", {})
    mode = enforcement.get("mode", "?")
    proven = enforcement.get("proven_at")
    since = f" (proven {durations.ago(now - datetime.fromisoformat(proven))} ago)" if proven else ""
    if mode == "none":
        since = " (groups are only stored)"
    hosts = health.get("hosts", {})
    head = [
        f"stockade {health.get('version', '?')}",
        f"up {durations.ago(now - up_since)}" if up_since else "",
        f"enforcing: {mode}{since}",
        f"hosts {hosts.get('ready', 0)}/{hosts.get('known', 0)}",
    ]
    counts = [f"{name} {health[name]}" for name in ("instances", "groups", "rules") if name in health]
    lines = ["   ".join(part for part in (*head, *counts) if part)]
    if health.get("status") != "ready":
        why = health.get("failure") or "not ready yet"
        lines.append(coloured(f"{health.get('status', 'unknown')}: {why}", "yellow"))
    audit = enforcement.get("audit", {})
    if audit.get("drift") or audit.get("failure"):
        told = audit.get("failure") or f"{audit['drift']} differences found, {audit['repaired']} put right"
        lines.append(coloured(f"audit: {told}", "yellow"))
    devices = health.get("devices", {}).get("policed", 0)
    if devices:
        lines.append(f"attached devices: {devices} policed        (stockade groups shows where)")
    for interface, why in health.get("devices", {}).get("impaired", {}).items():
        lines.append(coloured(f"impaired: {interface}: {why}", "yellow"))
    lost = enforcement.get("lost_events", 0)
    flows = health.get("flows")
    if flows is not None:
        lines.append(f"flows {flows['accepted']} accepted, {flows['rejected']} rejected, {lost} lost")
    return lines


def config(as_json: bool) -> int:
    """Each value and its origin."""
    chosen = settings.load()
    if as_json:
        print_json(
            {"settings": {name: {"value": one.value, "origin": one.origin} for name, one in chosen.values.items()}}
        )
        return 0
    rows = [(name, _shown(one.value), one.origin) for name, one in sorted(chosen.values.items())]
    print_table(("setting", "value", "from"), rows)
    for path in chosen.ignored:
        print(f"not read, because it (or a directory above it) is not root's alone: {path}")
    return 0


def _shown(value: settings.Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(value) or "-"
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(item)}" for name, item in value.items()) or "-"
    return str(value) or "-"


def _up_since() -> datetime | None:
    """When the agent started, by the kernel's own clock."""
    agent = site().agent()
    if agent is None:
        return None
    ticks = int(agent.started) / 100
    running_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]) - ticks
    return datetime.now(UTC) - timedelta(seconds=running_s)
