"""Scenarios in bytes: a datagram to a socket of either kernel, or to one of each, and the answer in brief."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from errno import errorcode
from struct import Struct, unpack_from
from typing import Final, Protocol

from addrsvc.mirror.netns import NetNs
from addrsvc.uapi import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MISS_NEST,
    NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
    NLMSGERR_ATTR_POLICY,
)
from tests.af_netlink import twins
from tests.af_netlink.twins import messages
from tests.fidelity.machines import give_up_privilege
from tests.fidelity.normal import Normaliser

__all__ = [
    "PORTID", "Answer", "ComparedPort", "OnePort", "Port", "UnprivilegedPort", "answer", "attributes", "brief_answer",
]  # fmt: skip

PORTID: Final = 4711
"""Of every socket here: acknowledgements carry it, so that it has to be the same."""
_NLATTR: Final = Struct("=HH")
_S32: Final = Struct("=i")


class Port(Protocol):
    """A socket that asks."""

    def exchange(self, data: bytes) -> list[bytes]:
        """Send a datagram and read all that comes back."""

    def close(self) -> None:
        """End it."""


class OnePort:
    """A socket of one kernel."""

    def __init__(self, socket: twins.Port) -> None:
        self._socket = socket

    def exchange(self, data: bytes) -> list[bytes]:
        self._socket.send(data)
        return [data for _, data in self._socket.heard()]

    def close(self) -> None:
        self._socket.close()


class ComparedPort:
    """A socket of each kernel, which must answer alike, byte for byte."""

    def __init__(self, model: Port, running: Port) -> None:
        self._model, self._running = model, running

    def exchange(self, data: bytes) -> list[bytes]:
        answers = [[Normaliser().data(it) for it in port.exchange(data)] for port in (self._running, self._model)]
        running, model = map(twins.spelled, answers)
        assert model == running, f"model (left) and running kernel (right) answer {data.hex()}"
        return answers[0]

    def close(self) -> None:
        self._model.close()
        self._running.close()


class UnprivilegedPort(OnePort):
    """A socket of the running kernel whose user has given up the capabilities: it is used by a thread of its own."""

    def __init__(self, netns: NetNs) -> None:
        self._thread = ThreadPoolExecutor(1, "unprivileged", give_up_privilege)
        super().__init__(twins.KernelPort(netns, portid=PORTID))

    def exchange(self, data: bytes) -> list[bytes]:
        return self._thread.submit(super().exchange, data).result()

    def close(self) -> None:
        self._thread.shutdown()
        super().close()


# --- the answer in brief ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back: the messages, and what the acknowledgement or the end of a dump says."""

    replies: tuple[tuple[int, int, bytes], ...]
    """Type, flags and body of each message that is neither an acknowledgement nor the end of a dump."""
    errno: int | None
    """None where nothing is acknowledged; 0 for yes."""
    told: Mapping[int, bytes]
    """The attributes of the extended acknowledgement."""


def answer(port: Port, data: bytes) -> Answer:
    """Send a datagram, and read what comes back."""
    replies: list[tuple[int, int, bytes]] = []
    errno, told = None, dict[int, bytes]()
    for datagram in port.exchange(data):
        for nlmsg_type, flags, _, _, body in messages(datagram):
            if nlmsg_type in (NLMSG_ERROR, NLMSG_DONE):
                errno = -_S32.unpack_from(body)[0]
                told = dict(attributes(body, _end_of_echo(nlmsg_type, flags, body))) if flags & NLM_F_ACK_TLVS else {}
            else:
                replies.append((nlmsg_type, flags, body))
    return Answer(tuple(replies), errno, told)


def _end_of_echo(nlmsg_type: int, flags: int, body: bytes) -> int:
    """Where the attributes of an acknowledgement begin: behind the errno, and the request as far as it is echoed."""
    if nlmsg_type == NLMSG_DONE:
        return 4
    return 20 if flags & NLM_F_CAPPED else 4 + (unpack_from("=I", body, 4)[0] + 3 & ~3)


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Type, without its flags, and payload of each attribute."""
    while offset + _NLATTR.size <= len(data):
        length, nla_type = _NLATTR.unpack_from(data, offset)
        yield nla_type & 0x3FFF, data[offset + _NLATTR.size : offset + length]
        offset += length + 3 & ~3


def brief_answer(port: Port, data: bytes) -> str:
    """The errno and the text, as for values; then where the bad attribute is, and what else is told.

    "EINVAL ipv6: Invalid prefix length @24": a refusal that points at byte 24 of the request.  "ok" is an
    acknowledgement, "nothing" is no answer at all; the number of replies comes last, if there are any.
    """
    it = answer(port, data)
    text = it.told.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode()
    words = ["nothing" if it.errno is None else NAMES.get(it.errno, str(it.errno)), *([text] if text else [])]
    if it.errno and not text:
        words.append("-")
    if NLMSGERR_ATTR_OFFS in it.told:
        words.append(f"@{unpack_from('=I', it.told[NLMSGERR_ATTR_OFFS])[0]}")
    words += [word for nla_type, word in _MORE.items() if nla_type in it.told]
    if it.replies:
        words.append(f"{len(it.replies)} replies")
    return " ".join(words)


_MORE: Final = {NLMSGERR_ATTR_POLICY: "policy", NLMSGERR_ATTR_MISS_TYPE: "miss", NLMSGERR_ATTR_MISS_NEST: "miss-nest"}
NAMES: Final = {**errorcode, 0: "ok", 95: "EOPNOTSUPP"}
