"""The units for systemd: which there are, and how they get to where systemd looks, and away again.

What is installed is written down in a manifest, with what each file held, so that installing again changes only what
has changed, and uninstalling removes what was installed and nothing else.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import addrsvc
from addrsvc.errors import ControlError

__all__ = ["OPTIONS", "Change", "Place", "install", "next_commands", "planned", "shipped", "uninstall"]

OPTIONS: Final[Mapping[str, str]] = {
    "host-only": "only this host: without CAP_SYS_ADMIN",
    "docker": "containers of docker, too: with CAP_DAC_READ_SEARCH",
    "many": "hundreds of namespaces heard by one socket: with CAP_NET_BROADCAST",
    "pids": "namespaces of processes, too: with CAP_SYS_PTRACE",
    "fast-flush": "what fast_flush in a rule asks for: settings of the network can be written",
    "realtime": "a real-time priority, if the configuration says so: with CAP_SYS_NICE",
}
"""What may be switched, each by a drop-in for addrsvc.service."""

_HERE: Final = Path(addrsvc.__file__).parent
_UNITS: Final = "lib/systemd/system"
_SYSUSERS: Final = "lib/sysusers.d/addrsvc.conf"
_SUFFIXES: Final = (".path", ".service", ".socket")
_SEARCHED: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
"""Where every systemd looks for a program that is named without a path; a link there does for older ones, too."""
_HOMES: Final = ("/root", "/home", "/run/user")
"""What ProtectHome= hides."""
_EVERYBODY_ENTERS: Final = 0o001
_LINK: Final = "link:"


@dataclass(frozen=True, slots=True)
class Place:
    """Where units are put.

    Attributes:
        prefix: below which they lie; systemd looks below /usr/local and /usr.
        root: in front of all paths, for who puts a package together; the program itself is that package's to install.
    """

    prefix: Path = Path("/usr/local")
    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """Where a name below the prefix is."""
        return self.root / self.prefix.relative_to("/") / name

    @property
    def manifest(self) -> Path:
        """What was installed."""
        return self.path("share/addrsvc/systemd.json")


class Change(NamedTuple):
    """What was done with a file: ``+`` written, ``-`` removed, ``=`` left as it was, ``!`` left, since it was changed.

    As a string it is a line of what the command prints.
    """

    what: str
    path: Path

    def __str__(self) -> str:
        return f"{self.what} {self.path}"


# --- what there is --------------------------------------------------------------------------------------------------


def planned(place: Place, options: Sequence[str] = ()) -> dict[Path, str]:
    """What would be installed: each file's text; that of a link is ``link:`` and where it leads."""
    source = shipped()
    units = (unit for unit in sorted(source.iterdir()) if unit.suffix in _SUFFIXES)
    files = {f"{_UNITS}/{unit.name}": unit.read_text() for unit in units}
    files[_SYSUSERS] = (source / "addrsvc.sysusers").read_text()
    for option in OPTIONS:
        if option in options:
            text = (source / "options" / f"{option}.conf").read_text()
            files[f"{_UNITS}/addrsvc.service.d/50-{option}.conf"] = text
    if place.root == Path("/") and str(_program().parent) not in _SEARCHED:
        files["bin/addrsvc"] = f"{_LINK}{_program()}"
    return {place.path(name): text for name, text in files.items()}


def shipped() -> Path:
    """The directory of the units and of the example of a configuration.

    It is in the package where that is installed, and beside it in a checkout.
    """
    installed = _HERE / "systemd"
    return installed if installed.is_dir() else _HERE.parent / "systemd"


def _program() -> Path:
    import sysconfig

    return Path(sysconfig.get_path("scripts"), "addrsvc")


def _require_reachable(program: Path) -> None:
    """The user that the service runs as has to reach the program, and what interprets it."""
    for path in (program, Path(sys.executable).resolve(), _HERE):
        for directory in path.parents:
            if str(directory) in _HOMES or not directory.stat().st_mode & _EVERYBODY_ENTERS:
                raise ControlError(
                    f"systemd: the service could not run {path}, as it runs as a user of its own, who does not get "
                    f"into {directory}; install addrsvc elsewhere, by a Python from elsewhere: "
                    f"/usr/bin/python3 -m venv /opt/addrsvc"
                )
    if not program.exists():
        raise ControlError(f"systemd: there is no {program} for the service to run; install addrsvc with pip")


def next_commands(place: Place, changes: Sequence[Change]) -> list[str]:
    """What to run once these changes were made."""
    if place.root != Path("/"):
        return []
    made = {change.what for change in changes}
    if not made & {"+", "="}:
        return ["systemctl daemon-reload"]
    restart = ["systemctl try-restart addrsvc.service"] if made != {"+"} else []
    sysusers = f"systemd-sysusers {place.path(_SYSUSERS)}"
    return [sysusers, "systemctl daemon-reload", *restart, "systemctl enable --now addrsvc.socket addrsvc.service"]


# --- there and away -------------------------------------------------------------------------------------------------


def install(place: Place, options: Sequence[str] = ()) -> list[Change]:
    """Put the units where systemd finds them, and take away what an earlier installation put there and this does not.

    Raises:
        ControlError: a file that is not ours is in the way, the service could not run this program, or nothing can
            be written.
    """
    if place.root == Path("/"):
        _require_reachable(_program())
    files, before = planned(place, options), _read_manifest(place)
    for path, text in files.items():
        _require_ours(path, text, before)
    marks = {path: _mark(text) for path, text in files.items()}
    with _refusals():
        directories = dict.fromkeys(_make_directories([*files, place.manifest]), "")
        _write_manifest(place, {**before, **directories, **marks})  # whatever happens from here on, it can be undone
        changes = [_write(path, text) for path, text in files.items()]
        changes += _remove({path: mark for path, mark in before.items() if mark and path not in files})
        _write_manifest(place, {**_directories(before), **directories, **marks})
    return changes


def uninstall(place: Place) -> list[Change]:
    """Remove what was installed, but for files that somebody has changed since.

    Raises:
        ControlError: nothing was installed there, a unit is enabled, or something cannot be removed.
    """
    if not place.manifest.exists():
        raise ControlError(f"systemd: nothing is installed below {place.path('')}: there is no {place.manifest}")
    if enabled := " ".join(sorted({link.name for link in place.root.glob("etc/systemd/system/*.wants/addrsvc*")})):
        raise ControlError(f"systemd: there is something enabled; first: systemctl disable --now {enabled}")
    marks = _read_manifest(place)
    with _refusals():
        changes = _remove({path: mark for path, mark in marks.items() if mark})
        place.manifest.unlink()
    for directory in sorted(_directories(marks), reverse=True):
        with suppress(OSError):  # somebody has put something else there
            directory.rmdir()
    return changes


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ControlError(f"systemd: {error.filename}: {error.strerror}") from None


def _make_directories(paths: Sequence[Path]) -> Iterator[Path]:
    """Make the directories that these lie in, whatever the umask, and tell which were missing."""
    for path in paths:
        for directory in reversed(path.parents):
            if not directory.exists():
                directory.mkdir()
                directory.chmod(0o755)
                yield directory


def _directories(marks: Mapping[Path, str]) -> dict[Path, str]:
    """Of what a manifest names, the directories."""
    return {path: mark for path, mark in marks.items() if not mark}


def _require_ours(path: Path, text: str, before: Mapping[Path, str]) -> None:
    """Nothing is overwritten that was not installed by us, or is just what we would write."""
    if os.path.lexists(path) and path not in before and _held(path) != _mark(text):
        raise ControlError(f"systemd: {path} is in the way: it was not put there by addrsvc systemd install")


def _write(path: Path, text: str) -> Change:
    if _held(path) == _mark(text):
        return Change("=", path)
    path.unlink(missing_ok=True)
    if text.startswith(_LINK):
        path.symlink_to(text.removeprefix(_LINK))
    else:
        path.write_text(text)
        path.chmod(0o644)
    return Change("+", path)


def _remove(marks: Mapping[Path, str]) -> list[Change]:
    """Remove files that hold what they were given."""
    changes = []
    for path, mark in marks.items():
        if (held := _held(path)) == mark:
            path.unlink()
        if held:
            changes.append(Change("-" if held == mark else "!", path))
    return changes


def _held(path: Path) -> str:
    """The mark of what a file holds now; empty if it is not there."""
    if path.is_symlink():
        return _mark(f"{_LINK}{path.readlink()}")
    return _mark(path.read_text(errors="replace")) if path.is_file() else ""


def _mark(text: str) -> str:
    """What tells one content from another; that of a link shows where it leads."""
    from hashlib import sha256

    return text if text.startswith(_LINK) else f"sha256:{sha256(text.encode()).hexdigest()}"


def _read_manifest(place: Place) -> dict[Path, str]:
    """What was installed, and the mark of its content; that of a directory is empty."""
    try:
        rows: dict[str, str] = json.loads(place.manifest.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ControlError(
            f"systemd: {place.manifest} is damaged; remove it, and what it should name, by hand"
        ) from None
    return {place.root / path: mark for path, mark in rows.items()}


def _write_manifest(place: Place, marks: Mapping[Path, str]) -> None:
    rows = {str(path.relative_to(place.root)): mark for path, mark in sorted(marks.items())}
    text = json.dumps(rows, indent=1) + "\n"
    if not place.manifest.exists() or place.manifest.read_text() != text:
        place.manifest.write_text(text)
        place.manifest.chmod(0o644)
