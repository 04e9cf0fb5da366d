"""What the command line prints: stories, answers and plans, as lines for people or as JSON, one object a line."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from addrsvc.daemon.commands import Said
from addrsvc.daemon.terminal import wants_colour
from addrsvc.errors import AddrsvcError

if TYPE_CHECKING:
    from threading import Event

    from addrsvc.daemon.service import Service

__all__ = [
    "OutputError", "Printer", "answer_text", "call_lines", "json_text", "listed", "nobody_reads", "ping_lines",
    "plan_text", "say",
]  # fmt: skip


_TRY_AGAIN: Final = 1.0
"""How many seconds a running service waits before it tries again to write."""


class OutputError(AddrsvcError):
    """What is to be told cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")


def say(text: str) -> None:
    """Print a line, at once.

    Raises:
        BrokenPipeError: nobody reads it.
        OutputError: it cannot be written.
    """
    try:
        _write(_encoded(f"{text}\n"))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from None


def _encoded(text: str) -> bytearray:
    return bytearray(text.encode(errors="backslashreplace"))


def _write(data: bytearray) -> None:
    """Write past sys.stdout, whose lock and whose unwritten rest would be in the way at the interpreter's end.

    What is left in `data` when this fails was not written.
    """
    import os

    while data:
        del data[: os.write(sys.stdout.fileno(), data)]


def json_text(value: object) -> str:
    """A plain value as JSON, on one line."""
    import json

    return json.dumps(value, separators=(",", ":"))


def nobody_reads() -> None:
    """The reader of our output has gone; there is nobody to tell, and the interpreter must not try at its end."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def listed(value: object) -> list[object]:
    """What an answer has where a list is due."""
    assert isinstance(value, list)
    return value


# --- answers and plans ----------------------------------------------------------------------------------------------


def answer_text(answer: Mapping[str, object]) -> str:
    """What a query answered: one line for each value, and for each row of a list."""
    return "\n".join(line for key, value in answer.items() for line in _value_lines(key, value))


def _value_lines(key: str, value: object) -> Iterator[str]:
    match value:
        case dict():
            yield from (f"{name} {number}" for name, number in value.items())
        case list():
            yield from map(_row_text, value)
        case _:
            yield f"{key}: {value}"


def _row_text(row: object) -> str:
    """One of a list of things: what it is, and then the rest of it."""
    assert isinstance(row, dict)
    first, *rest = (f"{key} {_joined(value)}" for key, value in row.items())
    return f"{first}: {', '.join(rest)}"


def _joined(value: object) -> object:
    return "; ".join(value) or "none" if isinstance(value, list) else value


def plan_text(planned: object) -> str:
    """What would be sent to one namespace, and why."""
    assert isinstance(planned, dict)
    lines = [f"{planned['netns']}: {_count(len(planned['steps']))} to send"]
    for step in planned["steps"]:
        lines += [f"  {step['message']['message']}  {step['text']}", f"    because {step['why']}"]
    for divergence in planned["divergences"]:
        lines.append(f"  cannot be sent: {divergence['why']}")
    return "\n".join(lines)


def _count(number: int) -> str:
    return {0: "no messages", 1: "1 message"}.get(number, f"{number} messages")


def ping_lines(answer: Mapping[str, object]) -> Iterator[str]:
    """What came of echo requests, as ping(8) words it, without times."""
    address, replies, sent = answer["address"], listed(answer["replies"]), answer["transmitted"]
    assert isinstance(sent, int)
    yield _ping_title(str(address), answer["size"])
    for reply in replies:
        assert isinstance(reply, dict)
        yield f"{reply['bytes']} bytes from {reply['source']}: icmp_seq={reply['seq']} ttl={reply['ttl']}"
    lost = (sent - len(replies)) * 100 // sent
    yield ""
    yield f"--- {address} ping statistics ---"
    yield f"{sent} packets transmitted, {len(replies)} received, {lost}% packet loss"


_IPV4_AND_ICMP: Final = 28
"""Bytes of both headers."""


def _ping_title(address: str, size: object) -> str:
    assert isinstance(size, int)
    if ":" in address:
        return f"PING {address}({address}) {size} data bytes"
    return f"PING {address} ({address}) {size}({size + _IPV4_AND_ICMP}) bytes of data."


def call_lines(calls: Sequence[object], *, inline: bool, files: bool) -> Iterator[str]:
    """The call story as an indented tree.

    Args:
        calls: as the service tells them.
        inline: functions of header files are shown too.
        files: the file of each function is shown.
    """
    hidden: list[int] = []
    for call in calls:
        assert isinstance(call, dict)
        depth, text, file = call["depth"], call["text"], call["file"]
        while hidden and hidden[-1] >= depth:
            hidden.pop()
        if file.endswith(".h") and not inline:
            hidden.append(depth)
            continue
        yield "  " * (depth - len(hidden)) + text + (f"  [{file}]" if files and file else "")


# --- stories ---------------------------------------------------------------------------------------------------------

_COLOURS: Final = {
    "event": "1", "callback": "36", "message": "32", "sent": "33", "adopted": "34", "differs": "31", "printk": "35",
    "tracepoint": "2",
}  # fmt: skip


class Printer:
    """Tells on standard output what was said, as lines or as one JSON object a line.

    Attributes:
        as_json: JSON it is.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._colours = wants_colour(sys.stdout)

    @contextmanager
    def listening(self, service: "Service") -> Iterator[None]:
        """Tell what a service says while the block runs, as it says it; what it has done before is not told.

        Raises:
            BrokenPipeError: nobody reads it.
            OutputError: it could not be written; as no work is left undone for that, it is raised in the end.
        """
        failures: list[BrokenPipeError | OutputError] = []

        def tell() -> None:
            try:
                self.print_all(watcher.take()[0])
            except (BrokenPipeError, OutputError) as error:
                failures.append(error)

        watcher = service.watch(wake=tell)
        try:
            yield
        finally:
            service.unwatch(watcher)
        if failures:
            raise failures[0]

    @contextmanager
    def listening_aside(self, service: "Service") -> Iterator[None]:
        """The same in a thread of its own, so that output which nobody takes, or no disk, holds nothing up.

        Where nobody ever will, SIGTERM is sent to this process, as a pipe's writer would get SIGPIPE.
        """
        from threading import Event, Thread

        woken, ended = Event(), Event()
        watcher = service.watch(wake=woken.set)

        def tell() -> None:
            while watcher.is_open:
                woken.wait()
                woken.clear()
                self._tell_aside(*watcher.take(), ended)

        thread = Thread(target=tell, name="story", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            service.unwatch(watcher)
            thread.join(1)

    def _tell_aside(self, news: "list[Said]", lost: int, ended: "Event") -> None:
        """Write; what cannot be written is tried again every second, and nothing more is taken meanwhile."""
        import os
        import signal

        lines = [self._lost(lost)] * bool(lost) + [self._text(said) for said in news]
        data = _encoded("".join(f"{line}\n" for line in lines))
        while data:
            try:
                _write(data)
            except BrokenPipeError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except OSError:
                if ended.wait(_TRY_AGAIN):
                    return

    def print_all(self, news: object) -> None:
        """Tell everything in a list of Said."""
        for said in listed(news):
            say(self._text(said))  # type: ignore[arg-type]

    def print_lost(self, lost: object) -> None:
        """Tell how much was lost, if anything was."""
        if lost:
            say(self._lost(lost))

    def _lost(self, lost: object) -> str:
        return json_text({"lost": lost}) if self.as_json else f"... {lost} lost, as they were not taken in time"

    def _text(self, said: Said) -> str:
        return json_text(said) if self.as_json else self._line(said)

    def print_addresses(self, net: str, links: object) -> None:
        """Show devices with their addresses, what `addr_show_json` made."""
        if self.as_json:
            say(json_text({"kind": "addresses", "net": net, "links": links}))
        else:
            from addrsvc.netlink.text import addr_show

            say(f"\n{net}:\n" + addr_show(links).rstrip())  # type: ignore[arg-type]

    def print_sent(self, netns: str, sent: int) -> None:
        """Tell how many messages a namespace of the running kernel was sent."""
        if self.as_json:
            say(json_text({"kind": "mirrored", "netns": netns, "sent": sent}))
        else:
            say(f"\n{netns}: {_count(sent)} sent")

    def print_note(self, key: str, value: str) -> None:
        """Tell something that is no event."""
        say(json_text({"kind": key, key: value}) if self.as_json else f"\n{key}: {value}")

    def _line(self, said: Said) -> str:
        net = f"{said['net']}: " if said["net"] and not said["depth"] else ""
        text = "  " * said["depth"] + net + said["text"]
        if not self._colours:
            return text
        return f"\033[{_COLOURS[said['kind']]}m{text}\033[0m"
