"""addrsvc as an operator has it: in a virtual environment below /opt, by a Python that every user may run."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.systemd.machine import CannotBoot

__all__ = ["HOME", "install_below"]

HOME: Final = "/opt/addrsvc"
_LIBRARIES: Final = "/opt/addrsvc-libraries"
_REPOSITORY: Final = Path(__file__).parents[2]
_HIDDEN: Final = ("/root", "/home")
_PROGRAM: Final = f"""\
#!{HOME}/bin/python
import sys
from addrsvc.__main__ import main
sys.exit(main())
"""


def install_below(directory: Path) -> Mapping[str, str]:
    """Make the environment in a directory of this machine.

    It is as a wheel of this checkout would be installed; the libraries are those that are installed beside pytest.

    Returns:
        What is to be bound where, in another machine.

    Raises:
        CannotBoot: there is no Python for it.
    """
    home = directory / "home"
    subprocess.run([_python(), "-m", "venv", "--without-pip", "--symlinks", home], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "addrsvc.pth").write_text(f"{_LIBRARIES}\n")
    shutil.copytree(_REPOSITORY / "addrsvc", packages / "addrsvc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(_REPOSITORY / "systemd", packages / "addrsvc/systemd")
    subprocess.run([_python(), "-m", "compileall", "-q", packages], check=True)  # where it runs nothing can be written
    program = home / "bin/addrsvc"
    program.write_text(_PROGRAM)
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)  # whatever the umask
    return {str(home): HOME, sysconfig.get_path("purelib"): _LIBRARIES}


def _python() -> str:
    """A Python that is new enough, and that a service without a home may run."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        if _may_be_run_by_everybody(python) and _is_new_enough(python):
            return str(python)
    raise CannotBoot("a service of its own user can run no Python of 3.11 or newer here")


def _may_be_run_by_everybody(path: Path) -> bool:
    return path.exists() and all(str(above) not in _HIDDEN and above.stat().st_mode & 0o001 for above in path.parents)


def _is_new_enough(python: Path) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", code], check=False).returncode == 0
