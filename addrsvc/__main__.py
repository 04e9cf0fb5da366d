"""``python -m addrsvc``, and the ``addrsvc`` command: the version at once, everything else by the command line."""

import os
import sys
from contextlib import suppress

__all__ = ["main"]


def main() -> int:
    """Run the command in sys.argv and give its exit code.  Ours."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from addrsvc import __version__

        with suppress(AttributeError, OSError):  # what could not be written is told by the command line
            os.write(sys.stdout.fileno(), f"addrsvc {__version__}\n".encode())
            return 0
    from addrsvc.cli import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
