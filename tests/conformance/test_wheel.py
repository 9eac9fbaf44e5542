"""The wheel as users get it: small, whole, and running where there is no compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LIMIT_BYTES = 2 * 1024 * 1024

pytestmark = pytest.mark.slow


def run(*command: object, path: str | None = None, **variables: str) -> str:
    """Standard output of a command that succeeds; `path` replaces PATH."""
    environment = {"PATH": path or os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of the checkout changes under other tests."""
    place = tmp_path_factory.mktemp("wheel")
    copied = ["src", "bpf", "tools", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]
    run("cp", "-r", *(CHECKOUT / name for name in copied), place)
    run("sh", "-c", f"cd {place} && {sys.executable} -m hatchling build -t wheel -d {place}/dist")
    (built,) = (place / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a fresh environment: the wheel, and from here the libraries it depends on."""
    place = tmp_path_factory.mktemp("clean") / "environment"
    run(sys.executable, "-m", "venv", place)
    run(place / "bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    packages = next(place.glob("lib/python3.*/site-packages"))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return place / "bin"


def test_wheel_is_small_and_whole(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size <= LIMIT_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    for order in ("el", "eb"):
        assert f"stockade/datapath/ebpf/objects/stockade.bpf.{order}.o" in names
    assert not [name for name in names if "-antispoof" in name or "-ingress" in name]
    assert {name.rpartition("licenses/")[2] for name in names if "licenses/" in name} == {
        "LICENSE",
        "NOTICE",
        "bpf/LICENSE",
    }


def test_two_builds_of_the_wheel_are_equal(wheel: Path, tmp_path: Path) -> None:
    run("sh", "-c", f"cd {wheel.parents[1]} && {sys.executable} -m hatchling build -t wheel -d {tmp_path}")
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_installed_package_is_the_wheels(installed: Path) -> None:
    where = run(installed / "python", "-c", "import stockade; print(stockade.__file__)").strip()
    assert Path(where).is_relative_to(installed.parent)


def test_command_explains_itself_without_a_compiler(installed: Path) -> None:
    text = run(installed / "stockade", "--help", path=f"{installed}:/sbin")
    assert "up" in text and "doctor" in text


def test_every_classic_tool_starts_from_the_wheel(installed: Path) -> None:
    tools = next(installed.parent.glob("lib/python3.*/site-packages/stockade/cli/ec2/bin"))
    for tool in sorted(tools.iterdir()):
        assert tool.name in run(tool, "--help")


@pytest.mark.root
def test_daemon_enforces_from_the_wheel_on_a_host_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    for tool in ("sh", "ip", "runc", "unshare", "mksquashfs", "mmdebstrap", "mount", "umount"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or f"/no/{tool}")
    script = """
        ip link set lo up
        trap 'stockade down --force >/dev/null 2>&1' EXIT
        stockade up -d --wait 60s >&2
        eval "$(stockade env)"
        ec2-add-group web -d 'Web servers'
        stockade status
        stockade down >&2
    """
    site = f"skw{os.getpid():x}"
    try:
        said = run(
            *("unshare", "--net", "sh", "-euc", script),
            path=f"{installed}:{tmp_path}",
            STOCKADE_SITE=site,
        )
    finally:
        shutil.rmtree(f"/var/lib/{site}", ignore_errors=True)
    assert "GROUP\tweb\tWeb servers" in said
    assert "enforcing: kernel" in said
