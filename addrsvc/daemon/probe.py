"""Whether programs can use ::1: tried, by binding a socket to it.

A hardened service may not make such a socket.  It is lent one then: by whoever starts it with more privilege, through
the descriptors that the service manager keeps (``addrsvc systemd lend-probe``).
"""

import socket
from errno import EAFNOSUPPORT

from addrsvc.daemon.systemd import PROBE, forget, store
from addrsvc.mirror.libc import disconnect

__all__ = ["bind_loopback", "lend"]


def bind_loopback(lent: socket.socket | None = None) -> None:
    """Bind a socket to ::1, and undo it at once.

    Args:
        lent: a socket to do it with, again and again; None to make one.

    Raises:
        OSError: as bind(2) does, EADDRNOTAVAIL where there is no ::1; or EAFNOSUPPORT, where none could be made.
    """
    if lent is None:
        with _fresh() as sock:
            sock.bind(("::1", 0))
    else:
        lent.bind(("::1", 0))
        disconnect(lent.fileno())


def lend() -> bool:
    """Give the service manager a socket for the service that it is about to start; False where there is none.

    Where the kernel is told to have no IPv6 there is none to give, and nothing to be tried by it.
    """
    try:
        sock = _fresh()
    except OSError as error:
        if error.errno != EAFNOSUPPORT:
            raise
        return forget(PROBE)
    with sock:
        return forget(PROBE) and store(PROBE, sock.fileno())


def _fresh() -> socket.socket:
    return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
