"""addrsvc.daemon.lean: what a service does about its limits."""

import subprocess
import sys

TAKE = """
import resource
from addrsvc.daemon.lean import take_descriptors

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))
take_descriptors()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most))
"""


def test_a_service_takes_all_descriptors_that_it_may_have() -> None:
    assert subprocess.run([sys.executable, "-c", TAKE], check=True, capture_output=True, text=True).stdout == "True\n"
