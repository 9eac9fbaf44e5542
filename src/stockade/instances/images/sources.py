"""The machine's own package sources: where layers come from, with its proxies and certificates.

Only entries that serve the machine's release are taken: an image is made of the distribution, and a third
party's repository that happens to be down must not stop it.
"""

import re
import subprocess
from pathlib import Path

_STANZAS = re.compile(r"\n[ \t]*\n")


def release_codename(os_release: str) -> str | None:
    """VERSION_CODENAME of an os-release file's text."""
    found = re.search(r"^VERSION_CODENAME=\"?([a-z0-9]+)", os_release, re.MULTILINE)
    return found.group(1) if found else None


def select_deb822(text: str, codename: str) -> str:
    """The stanzas of a .sources file that are enabled, hold binaries and serve this release."""
    chosen = []
    for stanza in _STANZAS.split(text):
        types = _field(stanza, "Types").split()
        suites = _field(stanza, "Suites").split()
        enabled = _field(stanza, "Enabled").lower() not in ("no", "false", "0", "off")
        if "deb" in types and enabled and any(_serves(suite, codename) for suite in suites):
            chosen.append(stanza.strip("\n"))
    return "\n\n".join(chosen)


def select_lines(text: str, codename: str) -> str:
    """The lines of a .list file that hold binaries and serve this release."""
    chosen = []
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(\S+)", line)
        if found and _serves(found.group(1), codename):
            chosen.append(line.strip())
    return "\n".join(chosen)


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*(.*)$", stanza, re.MULTILINE | re.IGNORECASE)
    return found.group(1).strip() if found else ""


def _serves(suite: str, codename: str) -> bool:
    return suite == codename or suite.startswith((codename + "-", codename + "/"))


def machine_sources(directory: Path) -> tuple[str, list[Path]]:
    """The release's name, and files in `directory` that hold the machine's sources for it. OSError when unknown."""
    codename = release_codename(Path("/etc/os-release").read_text(encoding="utf-8"))
    if codename is None:
        raise OSError("/etc/os-release names no release (VERSION_CODENAME)")
    main, parts = map(Path, apt_paths("Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d"))
    chosen = []
    for file in [main, *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        kept = select_deb822(text, codename) if file.suffix == ".sources" else select_lines(text, codename)
        if kept:
            copy = directory / file.name
            copy.write_text(kept + "\n", encoding="utf-8")
            chosen.append(copy)
    if not chosen:
        raise OSError(f"no package source of this machine serves {codename}")
    return codename, chosen


def apt_paths(*names: str) -> list[str]:
    """Values of apt's settings of paths, in order, whole; empty where unset."""
    script = [word for number, name in enumerate(names) for word in (f"V{number}", name)]
    answer = subprocess.run(["apt-config", "shell", *script], check=True, capture_output=True, text=True).stdout
    values = {line.partition("=")[0]: line.partition("=")[2].strip("'") for line in answer.splitlines()}
    return [values.get(f"V{number}", "") for number in range(len(names))]


def fetch_settings() -> str:
    """How this machine fetches packages (proxies, certificates, credentials), in apt.conf's own format."""
    answer = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    lines = [
        line
        for line in answer.splitlines()
        if line.startswith("Acquire::")
        and not line.startswith(("Acquire::IndexTargets", "Acquire::Changelogs"))
        and not line.endswith(' "";')
    ]
    # Written out whole, since mmdebstrap runs apt with the new tree as its directory.
    names = ("Dir::Etc::netrc", "Dir::Etc::netrcparts")
    for name, path in zip(names, apt_paths("Dir::Etc::netrc/f", "Dir::Etc::netrcparts/d"), strict=True):
        if path:
            lines.append(f'{name} "{path}";')
    return "".join(line + "\n" for line in lines)
