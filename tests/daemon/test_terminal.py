"""What may go to a terminal."""

import pytest

from addrsvc.daemon.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("blau-gr\u00fcn", "blau-gr\u00fcn"),
        ("C:\\x", "C:\\x"),
        ("\x1b[2Jgr\u00fcn\n", "\\x1b[2Jgr\u00fcn\\n"),
        ("\u202eblue", "\\u202eblue"),
        ("\udcffblue", "\\udcffblue"),
    ],
)
def test_only_what_would_do_something_is_written_otherwise(text: str, shown: str) -> None:
    assert printable(text) == shown
