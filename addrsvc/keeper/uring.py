"""io_uring, as far as it is needed: receive from one socket, and have the kernel itself send to another one then.

Such a pair waits in the kernel and costs nothing there.  When the message comes that it waits for, the thread that
began it is woken and sends before it is back in its own program, let alone in Python.

Linux 5.7 has what is used here, see io_uring_enter(2).  A policy may forbid it: kernel.io_uring_disabled, or a filter
of system calls, as container engines have one.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from errno import EAGAIN
from mmap import MAP_POPULATE, MAP_SHARED, mmap
from struct import Struct
from typing import Final

__all__ = ["Pair", "Uring"]

_IO_URING_SETUP: Final = 425
_IO_URING_ENTER: Final = 426
"""The same on all architectures."""
_IORING_OFF_SQES: Final = 0x1000_0000
_IORING_ENTER_GETEVENTS: Final = 1
_IORING_OP_ASYNC_CANCEL: Final = 14
_IORING_OP_SEND: Final = 26
_IORING_OP_RECV: Final = 27
_IOSQE_IO_LINK: Final = 1 << 2

_PARAMS: Final = Struct("=2I32x7I12x6I16x")
"""struct io_uring_params: how many entries the rings have, and where the submission ring has its head, tail, mask,
number of entries, flags, dropped, and array; the completion ring its head, tail, mask, number of entries, overflow, and
entries."""
_SQE: Final = Struct("=BBHiQQIIQ24x")
"""opcode, flags, ioprio, fd, off, addr, len, flags of the operation, user_data."""
_CQE: Final = Struct("=QiI")
"""user_data, result, flags."""
_U32: Final = Struct("=I")
_WRAP: Final = 0xFFFF_FFFF

_RECEIVE, _SEND, _CANCEL, _STEPS = range(4)
"""What the number of a request says beside whose it is."""
_ROOM: Final = 1 << 12


class Pair:
    """A message that is waited for, and one that is sent when it has come.

    Attributes:
        is_waiting: it was begun and is not over.
        has_sent: it came to sending since it was begun.
    """

    __slots__ = ("_due", "_message", "_receives", "_room", "_sends", "has_sent", "is_waiting", "number")

    def __init__(self, number: int, receives: int, sends: int, message: bytes) -> None:
        self.number: Final = number
        self._receives = receives
        self._sends = sends
        self._room = ctypes.create_string_buffer(_ROOM)
        self._message = ctypes.create_string_buffer(message, len(message))
        self._due = 0
        self.is_waiting = False
        self.has_sent = False

    def begin(self) -> Iterator[bytes]:
        """The requests that it consists of."""
        self._due = 2
        self.is_waiting, self.has_sent = True, False
        yield self._request(_RECEIVE, _IORING_OP_RECV, _IOSQE_IO_LINK, self._receives, self._room)
        yield self._request(_SEND, _IORING_OP_SEND, 0, self._sends, self._message)

    def cancel(self) -> bytes:
        """The request that ends it before it has begun to send."""
        return _SQE.pack(_IORING_OP_ASYNC_CANCEL, 0, 0, -1, 0, self._key(_RECEIVE), 0, 0, self._key(_CANCEL))

    def has_received(self, message: bytes) -> bool:
        """Whether this is the message that has come."""
        return self._room.raw.startswith(message)

    def end(self, step: int, result: int) -> None:
        """One of its requests is over, or was not taken."""
        if step != _CANCEL:
            self._due -= 1
            self.is_waiting = self._due > 0
            self.has_sent |= step == _SEND and result > 0

    def _request(self, step: int, opcode: int, flags: int, fd: int, buffer: "ctypes.Array[ctypes.c_char]") -> bytes:
        return _SQE.pack(opcode, flags, 0, fd, 0, ctypes.addressof(buffer), len(buffer), 0, self._key(step))

    def _key(self, step: int) -> int:
        return self.number * _STEPS + step


class Uring:
    """Pairs of one thread: all of its methods are called there.

    Args:
        most: how many pairs there may be at once.

    Raises:
        OSError: the kernel has no io_uring, or does not let this process have it.
    """

    def __init__(self, most: int) -> None:
        params = ctypes.create_string_buffer(_PARAMS.size)
        self._fd = _call(_IO_URING_SETUP, _STEPS * most, params)
        try:
            self._map(params.raw)
            _call(_IO_URING_ENTER, self._fd, 0, 0, 0, None, 0)  # it may be forbidden by itself
        except OSError:
            os.close(self._fd)
            raise
        self._free = list(range(most))
        self._pairs: dict[int, Pair] = {}

    def _map(self, params: bytes) -> None:
        of_requests, of_results, *places = _PARAMS.unpack(params)
        _, self._requested, _, _, _, _, array, self._read, self._done, _, _, _, self._results_at = places
        self._requests, self._results = of_requests, of_results
        size = max(array + of_requests * _U32.size, self._results_at + of_results * _CQE.size)
        self._ring = self._mapped(size, 0)
        self._entries = self._mapped(of_requests * _SQE.size, _IORING_OFF_SQES)
        for nth in range(of_requests):
            _U32.pack_into(self._ring, array + nth * _U32.size, nth)

    def _mapped(self, size: int, offset: int) -> mmap:
        return mmap(self._fd, size, flags=MAP_SHARED | MAP_POPULATE, offset=offset)

    def pair(self, receives: int, sends: int, message: bytes) -> Pair:
        """Another pair: descriptors of two sockets, and what is sent to the second one."""
        number = self._free.pop()
        pair = self._pairs[number] = Pair(number, receives, sends, message)
        return pair

    def begin(self, pair: Pair) -> None:
        """Have a pair wait, which does not; it goes on not waiting where the kernel does not take it."""
        requests = tuple(pair.begin())
        for step in range(self._ask(*requests), len(requests)):
            pair.end(step, 0)

    def has_sent(self, pair: Pair) -> bool:
        """Have a pair wait no more; whether it has sent."""
        self.collect()
        if pair.is_waiting and not self._ask(pair.cancel()):
            raise OSError(EAGAIN, "a request of io_uring cannot be cancelled")
        while pair.is_waiting:
            with suppress(InterruptedError):
                _call(_IO_URING_ENTER, self._fd, 0, 1, _IORING_ENTER_GETEVENTS, None, 0)
            self.collect()
        return pair.has_sent

    def give_back(self, pair: Pair) -> None:
        """A pair is not needed any more; it lets go of the sockets."""
        self.has_sent(pair)
        del self._pairs[pair.number]
        self._free.append(pair.number)

    def _ask(self, *requests: bytes) -> int:
        """Hand requests to the kernel; how many it has taken."""
        (tail,) = _U32.unpack_from(self._ring, self._requested)
        for nth, request in enumerate(requests, tail):
            at = nth % self._requests * _SQE.size
            self._entries[at : at + _SQE.size] = request
        _U32.pack_into(self._ring, self._requested, tail + len(requests) & _WRAP)
        taken = 0
        with suppress(OSError):
            taken = _call(_IO_URING_ENTER, self._fd, len(requests), 0, 0, None, 0)
        if taken < len(requests):
            _U32.pack_into(self._ring, self._requested, tail + taken & _WRAP)
        self.collect()
        return taken

    def collect(self) -> bool:
        """Take down what is over; whether anything was sent that was not known of."""
        is_news = False
        (head,), (tail,) = (_U32.unpack_from(self._ring, at) for at in (self._read, self._done))
        while head != tail:
            key, result, _ = _CQE.unpack_from(self._ring, self._results_at + head % self._results * _CQE.size)
            number, step = divmod(key, _STEPS)
            if number in self._pairs:
                self._pairs[number].end(step, result)
                is_news |= step == _SEND and result > 0
            head = head + 1 & _WRAP
        _U32.pack_into(self._ring, self._read, head)
        return is_news

    def close(self) -> None:
        """End everything; the kernel forgets the pairs that wait."""
        self._ring.close()
        self._entries.close()
        os.close(self._fd)


_libc: Final = ctypes.CDLL(None, use_errno=True)


def _call(*arguments: object) -> int:
    """A system call by its number."""
    result: int = _libc.syscall(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
