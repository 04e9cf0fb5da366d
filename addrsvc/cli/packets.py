"""The commands about packets of a model: ping, send, capture and trace."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from addrsvc.cli.adding import Parser, Subparsers, add, add_net, add_once
from addrsvc.cli.desk import Desk, given, open_desk
from addrsvc.cli.refusals import Refused
from addrsvc.daemon.printer import json_text, listed, say
from addrsvc.errors import ControlError, KernelError

if TYPE_CHECKING:
    from addrsvc.daemon.pcap import PcapWriter

__all__ = ["add_packets", "set_apart"]

_PING_HELP: Final = """\
Send echo requests through a ping socket of the model, and print what comes back, as ping(8) does.

The model's time stands still meanwhile, so nothing is waited for and no time is shown.  The exit code is ping's: 0 if
anything was answered, 1 if nothing was, 2 if nothing could be sent."""

_SEND_HELP: Final = """\
Send frames over a device of the model, as a packet socket does.

A frame begins with its link header; for lo that is 12 zero bytes and the protocol.  SOURCE is a frame in hexadecimal, a
pcap or pcapng file, a text file with one frame in hexadecimal on each line, or - for standard input, which may be any
of these."""

_CAPTURE_HELP: Final = """\
Write what passes a device of the model into a pcapng file, until interrupted.

With a command of link, addr, ping or send behind it, and its words and options: what passes while that is done.  Of
each packet on lo there are two, one as it is sent and one as it arrives, as a packet socket sees them; --received
leaves out the first."""

_TRACE_HELP: Final = """\
Do something, and print which functions of the kernel run, as a tree: what is indented is called by what stands above.

Messages, lines of the kernel's log and tracepoints stand where they are told.  What can be followed: link, addr, ping
(with its options) and send (of a frame, or of each in a file).  Functions of the kernel's header files are left out,
unless --all is given."""


def add_packets(subparsers: Subparsers) -> None:
    """Add what is about packets: ping, send, capture, trace."""
    parser = add(subparsers, "ping", _ping, _PING_HELP)
    parser.add_argument("address", metavar="ADDRESS", help="whom: ::1, say")
    _add_echoes(parser)
    _add_where(parser, dev=False)
    parser = add(subparsers, "send", _send, _SEND_HELP)
    parser.add_argument("source", metavar="SOURCE", help="a frame, a file, or -")
    _add_where(parser)
    parser = add(subparsers, "capture", _capture, _CAPTURE_HELP)
    parser.add_argument("--write", "-w", type=Path, required=True, metavar="FILE", help="the pcapng file")
    parser.add_argument("--count", "-c", type=int, help="end after so many packets")
    parser.add_argument("--received", action="store_true", help="only what is received, not what is sent")
    _add_where(parser)
    parser.add_argument("words", nargs="*", metavar="CMD", help="what to do meanwhile")
    parser = add(subparsers, "trace", _trace, _TRACE_HELP)
    parser.add_argument("--all", "-a", action="store_true", help="show functions of header files too")
    parser.add_argument("--files", "-f", action="store_true", help="show the file of each function")
    parser.add_argument("words", nargs="+", metavar="CMD", help="what to do")
    add_once(parser)


def _add_echoes(parser: argparse.ArgumentParser) -> None:
    """What echo requests a ping sends."""
    parser.add_argument("--count", "-c", type=int, help="how many (default: 4, and 1 where it is followed)")
    parser.add_argument("--size", "-s", type=int, help="bytes behind the header (default: 56)")


def _add_where(parser: argparse.ArgumentParser, *, dev: bool = True) -> None:
    if dev:
        parser.add_argument("--dev", default="lo", help="the device (default: lo)")
    add_net(parser)
    add_once(parser)


_FOLLOWING: Final = ("capture", "trace")
_WITH_A_VALUE: Final = ("-c", "-w", "--control", "--count", "--dev", "--net", "--write")


def set_apart(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take out the options of a ping that is followed, lest they are taken for those of who follows it."""
    is_followed = [word == "ping" and before not in _WITH_A_VALUE for before, word in pairwise(argv)]
    if not argv or argv[0] not in _FOLLOWING or True not in is_followed:
        return list(argv), []
    behind = is_followed.index(True) + 2
    parser = Parser(prog="addrsvc ping", add_help=False, allow_abbrev=False)
    _add_echoes(parser)
    options, others = parser.parse_known_args(argv[behind:])
    given = {"-c": options.count, "-s": options.size}
    return [*argv[:behind], *others], [
        w for key, value in given.items() if value is not None for w in (key, str(value))
    ]


def _ping(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.printer import ping_lines

    with open_desk(arguments) as desk:
        try:
            answer = desk.ask("ping", given(arguments, "address", "count", "size"))
        except KernelError as error:
            raise Refused(f"ping: connect: {error.strerror}") from None
    say(json_text(answer) if arguments.json else "\n".join(ping_lines(answer)))
    return 0 if answer["replies"] else 1


def _send(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.pcap import frames_of

    with open_desk(arguments) as desk:
        sent = 0
        for frame in frames_of(arguments.source):
            desk.ask("send", {"frame": frame.hex(), **given(arguments, "dev")})
            sent += 1
    if arguments.json:
        say(json_text({"sent": sent}))
    return 0


def _capture(arguments: argparse.Namespace) -> int:
    from addrsvc.daemon.pcap import PcapWriter
    from addrsvc.daemon.words import read_command

    if arguments.once and not arguments.words:
        raise ControlError("capture: with --once name something to do, such as: ping ::1")
    todo = [read_command(words) for words in _one_by_one(arguments.words)]
    with open_desk(arguments) as desk:
        begin = desk.ask("capture", given(arguments, "dev"))["next"]
        assert isinstance(begin, int)
        with PcapWriter.open(arguments.write, arguments.dev) as writer:
            for command, parameters in todo:
                desk.ask(command, parameters | given(arguments))
            written = _capture_into(writer, desk, arguments, begin, is_over=bool(arguments.words))
    sys.stderr.write(f"{written} packets\n")
    return 0


def _one_by_one(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """What is to be followed; a file of frames to be sent is one thing after the other."""
    match words:
        case ["send", source]:
            from addrsvc.daemon.pcap import frames_of

            yield from (["send", frame.hex()] for frame in frames_of(source))
        case [_, *_]:
            yield words


_CAPTURE_EVERY: Final = 0.1
"""Seconds between two looks at what has passed."""


def _capture_into(
    writer: "PcapWriter", desk: Desk, arguments: argparse.Namespace, number: object, *, is_over: bool
) -> int:
    """Write what passes from this number on; how many packets it was."""
    import time

    written, most = 0, arguments.count if arguments.count is not None else float("inf")
    with suppress(KeyboardInterrupt):
        while written < most:
            answer = desk.ask("capture", {"since": number, **given(arguments, "dev")})
            number = answer["next"]
            packets = listed(answer["packets"])
            for packet in packets:
                written += writer.write_row(packet, received_only=arguments.received) if written < most else 0
            if not packets and is_over:
                break
            time.sleep(0 if packets else _CAPTURE_EVERY)
    return written


def _trace(arguments: argparse.Namespace) -> int:
    with open_desk(arguments) as desk:
        for words in _one_by_one(arguments.words):
            _tell_calls(desk.ask("trace", {"words": words}), arguments)
    return 0


def _tell_calls(answer: Mapping[str, object], arguments: argparse.Namespace) -> None:
    from addrsvc.daemon.printer import call_lines

    if arguments.json:
        say(json_text(answer))
    else:
        for line in call_lines(listed(answer["calls"]), inline=arguments.all, files=arguments.files):
            say(line)
    if answer["refused"] is not None:
        raise Refused(f"Error: {answer['refused']}")
