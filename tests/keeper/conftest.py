"""What tests of the keeper may ask for."""

from collections.abc import Iterator

import pytest

from addrsvc.keeper.rtnl import Requests
from addrsvc.mirror.netns import NetNs


@pytest.fixture
def requests(netns: NetNs) -> Iterator[Requests]:
    """A socket for asking the namespace, of somebody else than the keeper."""
    with Requests.to(netns.fileno()) as requests:
        yield requests
