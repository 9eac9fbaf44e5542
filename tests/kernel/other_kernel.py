"""These tests on another kernel, in a virtual machine without disk or network: some minutes, emulated.

    ./dev test --kernel 6.1 [pytest arguments]              Debian's own package of that series, from apt
    ./dev test --kernel linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb [pytest arguments]

The initial file system is this Python, this checkout, pytest and busybox; its first process mounts what systemd does
with unified cgroups (cgroup2 and nothing else), says what our probe finds in this kernel, and runs the tests. The
kernel must be of this machine's architecture, with veth, sch_ingress and cls_bpf built in or as plain modules.
Needs qemu-system, dpkg and busybox-static.
"""

import gzip
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("veth", "sch_ingress", "cls_bpf")
PACKAGES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
LEFT_OUT = {"site-packages", "test", "__pycache__", "idlelib", "tkinter", "ensurepip", "lib2to3"}
TESTS = (
    *("test_object", "test_stack", "test_scenarios_in_the_kernel", "test_both_families", "test_packets"),
    *("test_datapath", "test_timers", "test_address_reuse", "test_flows_by_chance"),
)
"""Unless others are named. Floods and a fault at every write are the same on any kernel, and take hours there."""
PACKAGE = "linux-image-{series}[0-9.-]*-cloud-{architecture}"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DOWNLOADS = ROOT / ".stockade" / "kernels"
LONGEST_S = 3600
EXIT = re.compile(r"^EXIT (\d+)", re.MULTILINE)

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tmpfs run /run
/bin/busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
/bin/busybox mount -t bpf bpf /sys/fs/bpf
for module in /modules/*; do /bin/busybox insmod $module; done
export PATH=/bin PYTHONPATH=/app/src:/app/tests:/site PYTHONDONTWRITEBYTECODE=1 HOME=/tmp NO_COLOR=1
cd /app
/bin/busybox uname -r
{python} -c "from stockade.datapath.ebpf.features import probe_features
for found in probe_features(): print(found)"
{python} -m pytest -q -c /dev/null --rootdir /app --noconftest --import-mode=importlib -p no:cacheprovider \\
    --tb=short -W ignore {tests}
echo "EXIT $?"
/bin/busybox poweroff -f
"""


def files_below(place: Path, shown_as: str) -> Iterator[tuple[str, Path]]:
    """Path inside the machine and here, of every file below a folder (or of the one file)."""
    if place.is_file():
        yield shown_as, place
    for folder, below, names in os.walk(place):
        below[:] = [name for name in below if name not in LEFT_OUT and not name.startswith("config-")]
        for name in names:
            here = Path(folder, name)
            if here.is_file() and here.suffix != ".a":
                yield f"{shown_as}/{here.relative_to(place)}", here


def libraries_of(*programs: Path) -> Iterator[tuple[str, Path]]:
    """The shared libraries these need, each under its own path."""
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for found in re.findall(r"(/\S+)", listed):
            yield found, Path(found).resolve()


def contents(kernel: Path) -> dict[str, Path]:
    """Everything but the first process and the empty folders."""
    standard = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.executable).resolve()
    found = dict(files_below(standard, str(standard))) | {str(python): python}
    ip = Path("/sbin/ip").resolve()
    found |= {"/bin/busybox": Path("/bin/busybox"), "/bin/ip": ip}
    found |= dict(libraries_of(python, ip, *(standard / "lib-dynload").glob("*.so")))
    found |= dict(files_below(ROOT / "src", "/app/src"))
    found |= dict(files_below(ROOT / "bpf", "/app/bpf")) | dict(files_below(ROOT / "tests", "/app/tests"))
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{name} is not installed"
        origin = Path(spec.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        found |= dict(files_below(place, f"/site/{place.name}"))
    for number, module in enumerate(MODULES):
        for file in kernel.glob(f"lib/modules/*/kernel/**/{module}.ko"):
            found[f"/modules/{number}-{module}.ko"] = file
    return found


def write_archive(out: Path, init: str, files: dict[str, Path]) -> None:
    """The "newc" archive that a kernel unpacks as its first file system."""
    folders = {"/proc", "/sys", "/dev", "/tmp", "/run"}
    for name in files:
        folders |= {str(parent) for parent in Path(name).parents if str(parent) != "/"}
    with gzip.open(out, "wb", compresslevel=1) as archive:

        def add(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
            path = name.lstrip("/").encode() + b"\0"
            numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
            header = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
            archive.write(header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4))

        for folder in sorted(folders):
            add(folder, 0o040755)
        add("/dev/console", 0o020600, device=(5, 1))
        add("/init", 0o100755, init.encode())
        for name, here in files.items():
            add(name, 0o100000 | here.stat().st_mode & 0o777, here.read_bytes())
        add("TRAILER!!!", 0)


def package_of(wanted: str) -> Path:
    """The package file itself, or the newest of this series in Debian 12, downloaded when it is not there yet."""
    if wanted.endswith(".deb"):
        return Path(wanted)
    pattern = PACKAGE.format(series=re.escape(wanted + "."), architecture=ARCHITECTURES[os.uname().machine])
    listed = subprocess.run(["apt-cache", "pkgnames", "linux-image-"], capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split() if re.fullmatch(pattern, name)]
    if not names:
        raise SystemExit(f"error: apt knows no package like {pattern}\n  try:  a package file: --kernel FILE.deb")
    newest = max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    if not list(DOWNLOADS.glob(f"{newest}_*.deb")):
        subprocess.run(["apt-get", "download", "-qq", newest], cwd=DOWNLOADS, check=True)
    return max(DOWNLOADS.glob(f"{newest}_*.deb"), key=lambda path: path.stat().st_mtime)


def run(package: Path, arguments: list[str]) -> int:
    """The exit code of pytest in there; 70 when it never came to an end."""
    with tempfile.TemporaryDirectory() as directory:
        kernel = Path(directory, "kernel")
        subprocess.run(["dpkg", "-x", str(package), str(kernel)], check=True)
        image = next(kernel.glob("boot/vmlinu*"))
        tests = " ".join(arguments or [f"tests/kernel/{name}.py" for name in TESTS])
        init = INIT.format(python=Path(sys.executable).resolve(), tests=tests)
        archive = Path(directory, "initrd.gz")
        write_archive(archive, init, contents(kernel))
        machine = [f"qemu-system-{os.uname().machine}", "-m", "3072", "-nographic", "-no-reboot"]
        machine += ["-M", "q35"] if os.uname().machine == "x86_64" else ["-M", "virt", "-cpu", "max"]
        boot = ["-kernel", str(image), "-initrd", str(archive), "-append", "console=ttyS0 panic=-1 quiet"]
        said = heard([*machine, *boot])
    ended = EXIT.search(said)
    return int(ended[1]) if ended else 70


def heard(command: list[str]) -> str:
    """What the machine says on its console, shown as it says it."""
    pieces: list[str] = []
    with subprocess.Popen(
        ["timeout", "--kill-after=10", str(LONGEST_S), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            pieces.append(line)
    return "".join(pieces)


if __name__ == "__main__":
    sys.exit(run(package_of(sys.argv[1]), sys.argv[2:]))
