"""What systemd and a service tell each other: readiness, and a socket that systemd bound.

Both are environment variables and a datagram, so there is no library.  Outside systemd everything here does nothing.
"""

import os
import socket

__all__ = ["inherited_socket", "notify"]

_LISTEN_FDS_START = 3


def notify(*states: str) -> bool:
    """Tell the service manager, ``notify("READY=1", "STATUS=serving")``; False where there is none to tell.

    Raises:
        OSError: NOTIFY_SOCKET names a socket that does not take it.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto("\n".join(states).encode(), address)
    return True


def inherited_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket | None:
    """The one listening Unix socket that systemd passed to this very process, or None if it passed none.

    The variables are taken out of the environment, so that no child believes they are meant for it.

    Raises:
        OSError: the descriptor that was announced is not open, or is no socket.
        ValueError: what was passed is not one listening Unix socket of this kind.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise ValueError(f"systemd passed {count} sockets, one was expected")
    sock = socket.socket(fileno=_LISTEN_FDS_START)
    os.set_inheritable(_LISTEN_FDS_START, False)  # noqa: FBT003
    return _checked(sock, kind)


def _checked(sock: socket.socket, kind: socket.SocketKind) -> socket.socket:
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if (sock.family, sock.type) == (socket.AF_UNIX, kind) and listening:
        return sock
    sock.close()
    word = {socket.SOCK_STREAM: "stream", socket.SOCK_SEQPACKET: "seqpacket"}[kind]
    raise ValueError(f"systemd passed a socket that is no listening Unix {word} socket")
