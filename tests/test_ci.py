"""What is checked before a change is taken is what the README tells everybody to run."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_tests_are_run_by_the_readmes_own_command() -> None:
    _, second = re.findall(r"^ *(python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)

    assert second in (ROOT / ".ci" / "run").read_text().splitlines()
