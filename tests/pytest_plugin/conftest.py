"""Tests of the plugin run pytest within pytest, on test modules of their own."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parent.parent.parent
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
LOADED = 'pytest_plugins = ["addrsvc.pytest_plugin"]\n'
# Others' plugins only cost time here.
QUICK = ("-p", "no:cacheprovider", "-p", "no:benchmark", "-p", "no:hypothesispytest")


class Inner:
    """A directory of test modules that everybody may read, and pytest in a process of its own."""

    def __init__(self, path: Path, conftest: str) -> None:
        self.path = path
        path.joinpath("conftest.py").write_text(conftest)

    def write(self, module: str, name: str = "test_inner.py") -> None:
        """Write a test module."""
        self.path.joinpath(name).write_text(textwrap.dedent(module))

    def command(self, *arguments: str) -> list[str]:
        """The words that run pytest here."""
        return [sys.executable, "-m", "pytest", *QUICK, "--strict-markers", "-W", "error", "-rs", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        here = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120", "PYTEST_ADDOPTS": ""}
        return os.environ | here

    def run(self, *arguments: str, user: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run pytest, started by the words of `user`."""
        return subprocess.run(
            [*user, *self.command(*arguments)],
            cwd=self.path, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def unprivileged(self) -> tuple[str, ...]:
        """The words that start a program as somebody without privilege, if he can run what we run."""
        if os.geteuid() != 0:
            return ()
        if shutil.which("setpriv") is None:
            pytest.skip("there is no setpriv(1) to lay down root's privileges with")
        can = [*NOBODY, sys.executable, "-c", "import addrsvc, pytest"]
        tried = subprocess.run(can, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"not everybody can read this Python or this checkout: {tried.stderr.strip()}")
        return NOBODY


@pytest.fixture
def inner(request: pytest.FixtureRequest) -> Iterator[Inner]:
    """A directory of test modules, with the plugin loaded as it is here."""
    with TemporaryDirectory(prefix="addrsvc-") as directory:
        Path(directory).chmod(0o755)
        yield Inner(Path(directory), "" if request.config.pluginmanager.has_plugin("addrsvc") else LOADED)
