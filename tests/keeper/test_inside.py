"""addrsvc.keeper.inside: short visits to namespaces."""

import os
import threading
from errno import EBADF, EPERM
from pathlib import Path

import pytest

from addrsvc.errors import KernelError
from addrsvc.keeper.inside import inside
from addrsvc.mirror.child import in_a_child
from addrsvc.mirror.netns import NetNs, create_rootless


def where() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_visit_ends_where_it_began(netns: NetNs) -> None:
    home = where()

    assert inside(netns.fileno(), where) == netns.inode
    assert where() == home


def test_a_visit_that_fails_ends_there_too(netns: NetNs) -> None:
    home = where()

    with pytest.raises(ZeroDivisionError):
        inside(netns.fileno(), lambda: 1 // 0)

    assert where() == home


def test_without_a_namespace_nobody_goes_anywhere() -> None:
    assert inside(None, where) == where()


@pytest.mark.needs_cap_sys_admin  # inside() enters by setns(2) alone
def test_each_thread_goes_back_to_where_it_came_from(netns: NetNs) -> None:
    seen: list[int] = []

    def body() -> None:
        inside(netns.fileno(), lambda: None)
        seen.append(where())

    inside(netns.fileno(), lambda: None)
    thread = threading.Thread(target=lambda: inside(netns.fileno(), body))
    thread.start()
    thread.join()

    assert seen == [netns.inode]


def test_what_a_thread_held_is_let_go_with_it(netns: NetNs) -> None:
    inside(netns.fileno(), where)
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(5):
        thread = threading.Thread(target=inside, args=(netns.fileno(), where))
        thread.start()
        thread.join()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_namespace_of_a_user_namespace_of_ours_can_be_visited() -> None:
    try:
        netns = create_rootless()
    except KernelError as error:
        pytest.skip(f"no user namespaces here: {error}")
    with netns:
        assert inside(netns.fileno(), where) == netns.inode


def test_a_refusal_names_the_namespace_and_the_capability(netns: NetNs, cap_sys_admin: None) -> None:
    def as_nobody() -> int:
        os.setgid(65534)
        os.setuid(65534)
        return inside(netns.fileno(), where, 'network namespace "blue"')

    with pytest.raises(KernelError, match='entering network namespace "blue" needs CAP_SYS_ADMIN') as caught:
        in_a_child(as_nobody)
    assert caught.value.errno == EPERM


def test_what_is_no_descriptor_is_refused() -> None:
    with pytest.raises(OSError, match=os.strerror(EBADF)):
        inside(1 << 20, where)


def test_what_is_no_namespace_is_refused(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(KernelError, match="entering network namespace"):
            inside(fd, where)
    finally:
        os.close(fd)
