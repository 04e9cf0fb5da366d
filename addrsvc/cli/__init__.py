"""The command line: subcommands made from the command tables, and the words of ip(8) where ip has the thing.

Nothing heavy is imported before it is needed: a fresh model needs neither an event loop nor a running kernel.
"""

import os
import sys
from collections.abc import Sequence

from addrsvc.cli.parser import parse
from addrsvc.cli.refusals import Refused, fail, refusal
from addrsvc.daemon.printer import OutputError, nobody_reads
from addrsvc.errors import AddrsvcError, ConfigError, KernelError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code, 0 or one of `adding.EXITS`."""
    _prepare_streams()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        result: int = arguments.run(arguments)
        return result
    except KernelError as error:
        return fail(refusal(error), 2)
    except Refused as error:
        return fail(str(error), 2)
    except OutputError as error:
        nobody_reads()
        return fail(f"Error: {error}", 1)
    except ConfigError as error:
        return fail(str(error), 1)
    except AddrsvcError as error:
        return fail(f"Error: {error}", 1)
    except BrokenPipeError:
        nobody_reads()
        return 0
    except KeyboardInterrupt:
        return 130


def _prepare_streams() -> None:
    """Let the streams take any text; one that was closed before we started takes it nowhere."""
    from io import TextIOWrapper

    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
