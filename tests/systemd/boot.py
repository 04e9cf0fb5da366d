"""The program that boots a throw-away machine, holds it until its standard input ends, and takes it away.

It prints the process id of the machine's process 1 once that has booted.  Ends with SKIP where this machine cannot do
it, and with 1 where something is wrong; the reason is on standard error.
"""

import errno
import json
import os
import pty
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from tests.systemd.cgroup import Cgroup, NoCgroup
from tests.systemd.root import NoOverlay, enter_root
from tests.systemd.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    die_with_parent,
    drop_bound,
    unshare,
)

__all__ = ["ENVIRONMENT", "SKIP"]

SKIP: Final = 77
"""The exit code of who cannot do here what a test needs, as automake has it."""
ENVIRONMENT: Final = {
    "container": "addrsvc-test",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}
_INIT: Final = "/usr/lib/systemd/systemd"
_NAMESPACES: Final = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
_NOT_ITS_BUSINESS: Final = (16, 17, 25)
"""CAP_SYS_MODULE, CAP_SYS_RAWIO and CAP_SYS_TIME: root inside is root."""
_CANNOT: Final = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS, errno.ENODEV, errno.EINVAL)
_PATIENCE: Final = 60.0


class _End(Exception):
    """The program is to end with this code, and say so."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _main(binds: Mapping[str, str]) -> None:
    if os.geteuid() != 0:
        raise _End(SKIP, "booting a systemd needs root")
    if not os.access(_INIT, os.X_OK):
        raise _End(SKIP, f"booting a systemd needs one: there is no {_INIT}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        cgroup = Cgroup()
    except NoCgroup as error:
        raise _End(SKIP, str(error)) from None
    try:
        _hold(cgroup, binds)
    finally:
        cgroup.close()


def _hold(cgroup: Cgroup, binds: Mapping[str, str]) -> None:
    console, tty = pty.openpty()  # both stay open: that nobody inside has it open is no hang-up
    try:
        unshare(CLONE_NEWPID)
    except OSError as error:
        raise _End(SKIP, f"no process namespace: {error}") from None
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    init = os.fork()
    if not init:
        ours.close()
        _become_init(cgroup, binds, os.ttyname(tty), its)
    its.close()
    _wait_until_booted(ours, init, console)
    sys.stdout.write(f"{init}\n")
    sys.stdout.flush()
    _wait(console, 0, os.pidfd_open(init))


def _wait_until_booted(link: socket.socket, init: int, console: int) -> None:
    """Wait until process 1 says that it has booted.

    What it says later nobody wants to know, so the socket is closed: one that nobody reads from would stop it.
    """
    end = time.monotonic() + _PATIENCE
    _wait(console, link.fileno(), end=end)
    text, fds, _, _ = socket.recv_fds(link, 4096, 1)
    if not fds:
        code, _, reason = (text.decode() or "1 the set-up died").partition(" ")
        raise _End(int(code), reason)
    with socket.socket(fileno=fds[0]) as told:
        alive = os.pidfd_open(init)
        while _wait(console, told.fileno(), alive, end=end) == told.fileno():
            if b"READY=1" in told.recv(4096).splitlines():
                return
    raise _End(1, "systemd ended while it booted")


def _wait(console: int, *fds: int, end: float | None = None) -> int:
    """The first of the descriptors that is ready; what the console says meanwhile is read, and of no interest."""
    poll = select.poll()
    for fd in (*fds, console):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll(None if end is None else max(0.0, end - time.monotonic()) * 1000)]
        if not ready:
            raise _End(1, f"not booted within {_PATIENCE:g} s")
        if console in ready:
            os.read(console, 65536)
        for fd in fds:
            if fd in ready:
                return fd


def _become_init(cgroup: Cgroup, binds: Mapping[str, str], console: str, link: socket.socket) -> NoReturn:
    """In the child that is to be process 1."""
    try:
        die_with_parent()
        cgroup.let_go()
        cgroup.enter()
        os.setsid()
        unshare(_NAMESPACES)
        enter_root(binds, console)
        _exec_systemd(link)
    except NoOverlay as error:
        link.send(f"{SKIP} {error}".encode())
    except OSError as error:
        link.send(f"{SKIP if error.errno in _CANNOT else 1} {error}".encode())
    os._exit(1)


def _exec_systemd(link: socket.socket) -> NoReturn:
    notify = Path("/run/addrsvc-test/notify")
    notify.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(notify))
        socket.send_fds(link, [b"booting"], [told.fileno()])
    for capability in _NOT_ITS_BUSINESS:
        drop_bound(capability)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, 65536)
    os.umask(0o022)
    words = [_INIT, "--system", "--unit=multi-user.target", "--show-status=no"]
    os.execve(_INIT, words, {**ENVIRONMENT, "NOTIFY_SOCKET": str(notify)})


if __name__ == "__main__":
    try:
        _main(json.loads(sys.argv[1]))
    except _End as ended:
        sys.stderr.write(f"{ended}\n")
        sys.exit(ended.code)
