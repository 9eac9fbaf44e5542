"""The examples of the documents do what they say, against a running control plane."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving import ControlPlane
from stockade.service.accounts import CreatedAccount

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "src/stockade/cli/ec2/bin"


def blocks(document: str, language: str = "") -> list[str]:
    """The fenced examples of a document in one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def classic_commands(document: str) -> list[str]:
    """The lines of its shell examples that are classic tools, without those that only stand for an id."""
    lines = [line.removeprefix("$ ") for block in blocks(document) for line in block.splitlines()]
    return [line for line in lines if line.startswith("ec2-") and "..." not in line]


@pytest.fixture
def environment(plane: ControlPlane, mary: CreatedAccount, tmp_path: Path) -> dict[str, str]:
    """What `stockade env` sets."""
    return {
        "PATH": f"{TOOLS}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_EC2": plane.url,
        "AWS_ENDPOINT_URL_STS": plane.url,
        "EC2_URL": plane.url,
        "AWS_ACCESS_KEY_ID": mary.key.id,
        "AWS_SECRET_ACCESS_KEY": mary.key.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_the_readmes_boto3_example_runs_unchanged(environment: dict[str, str]) -> None:
    (example,) = blocks("README.md", "python")
    done = subprocess.run([sys.executable, "-c", example], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", ["README.md", "docs/guides/first-firewall.md"])
def test_the_classic_commands_of_a_document_run_in_order(document: str, environment: dict[str, str]) -> None:
    commands = classic_commands(document)
    assert len(commands) >= 4
    script = "set -e\n" + "\n".join(commands)
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "INSTANCE\ti-" in done.stdout
