"""Whole processes: the version said by the installed command, over an interpreter that does nothing."""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.race import Lap

INSTALLED = Path(sys.executable).with_name("addrsvc")
VERSION = [str(INSTALLED), "--version"] if INSTALLED.exists() else [sys.executable, "-m", "addrsvc", "--version"]
NOTHING = [sys.executable, "-c", "pass"]


def process(*arguments: str) -> Lap:
    """A lap that runs one process to its end."""

    def lap() -> bytes:
        return subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout

    return lap
