"""What an instance may write: a file of a fixed size with a file system in it, so that no instance fills the host's.

The file is sparse; what is written is what it takes. It has no journal: after a crash of the host nobody mounts it
again.
"""

import os
import shutil
import subprocess
from pathlib import Path

_MAKER = "mkfs.ext4"
_FEATURES = "^has_journal,^resize_inode"


def can_make_disks() -> bool:
    """Whether this system has what it takes; without it, instances write into directories."""
    return shutil.which(_MAKER) is not None


def make_disk(file: Path, size_mb: int, content: Path) -> None:
    """A disk with these files, owners and all. OSError when it cannot be made."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as made:
        made.truncate(size_mb << 20)
    extended = "lazy_itable_init=1,nodiscard,root_owner=0:0"
    command = [_MAKER, "-q", "-F", "-m", "0", "-O", _FEATURES, "-E", extended, "-d", str(content), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{_MAKER}: {done.stderr.strip()}")
