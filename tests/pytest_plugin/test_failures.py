"""What a failing test shows: expected and seen side by side, the same on either kernel."""

import os
import re
import textwrap

import pytest

from addrsvc.mirror.netns import create_named, remove_named
from addrsvc.pytest_plugin import check_leaks
from tests.pytest_plugin.conftest import Inner

FAILING = {
    "messages": (
        """
        with expect_messages(kernel, "1: lo    inet 127.0.0.1/8 ...", "1: lo    inet6 ::1/64 ...", "Deleted ...",
                             only=["RTM_NEWADDR"], timeout=0.1):
            kernel.link_set("lo", up=True)
        """,
        """
        AssertionError: not the messages that were expected:
           expected                                               | seen
           -------------------------------------------------------+-------------------------------------------------------
           1: lo    inet 127.0.0.1/8 ...                          | 1: lo    inet 127.0.0.1/8 scope host lo
         ! 1: lo    inet6 ::1/64 ...                              | 1: lo    inet6 ::1/128 scope host proto kernel_lo
         < Deleted ...                                            |
        """,
    ),
    "silence": (
        """
        with expect_messages(kernel):
            kernel.addr_add("2001:db8::1/64", "lo")
        """,
        """
        AssertionError: not the messages that were expected:
           expected                                               | seen
           -------------------------------------------------------+-------------------------------------------------------
         >                                                        | 1: lo    inet6 2001:db8::1/64 scope global tentative
         >                                                        | 1: lo    inet6 2001:db8::1/64 scope global
         >                                                        | local 2001:db8::1 dev lo table local proto kernel
                                                                  |     metric 0 pref medium
        """,
    ),
    "addresses": (
        """
        kernel.link_set("lo", up=True)
        assert_addresses(kernel, "lo", "127.0.0.1/8", "2001:db8::1/64", "::1/128 scope global")
        """,
        """
        AssertionError: lo has not the addresses that were expected:
           expected                                               | seen
           -------------------------------------------------------+-------------------------------------------------------
           127.0.0.1/8 ...                                        | 127.0.0.1/8 scope host lo
         ! 2001:db8::1/64 ...                                     | ::1/128 scope host proto kernel_lo
         < ::1/128 scope global                                   |
        """,
    ),
    "waiting for a message": (
        """
        with wait_for(kernel, "Deleted ...", timeout=0.1):
            kernel.addr_add("2001:db8::1", "lo", nodad=True)
        """,
        """
        AssertionError: not said within 0.1 s: Deleted ...
        said was:
          1: lo    inet6 2001:db8::1/128 scope global nodad
          local 2001:db8::1 dev lo table local proto kernel metric 0 pref medium
        """,
    ),
    "waiting for a condition": (
        """
        wait_until(kernel, lambda: kernel.addresses("lo"), timeout=0.1)
        """,
        """
        AssertionError: not true within 0.1 s
        said meanwhile: nothing
        """,
    ),
}  # fmt: skip


def module() -> str:
    """One test for each body."""
    imports = "from addrsvc.pytest_plugin import assert_addresses, expect_messages, wait_for, wait_until"
    bodies = (textwrap.indent(textwrap.dedent(body).strip(), "    ") for body, _ in FAILING.values())
    names = (name.replace(" ", "_") for name in FAILING)
    tests = (f"def test_{name}(kernel):\n{body}\n" for name, body in zip(names, bodies, strict=True))
    return "\n\n".join([imports, *tests])


def shown(stdout: str) -> list[str]:
    """What pytest shows as the errors: its lines with an E in front, one text for each run of them."""
    texts: list[str] = []
    lines: list[str] = []
    for line in [*stdout.splitlines(), ""]:
        if line.startswith("E "):
            lines.append(line.removeprefix("E"))
        elif lines:
            texts.append(textwrap.dedent("\n".join(lines)))
            lines = []
    return texts


def test_failures_are_readable_and_the_same_on_both_kernels(inner: Inner, netns: object) -> None:
    inner.write(module())
    done = inner.run("-q", "--netns=require")

    assert shown(done.stdout) == [textwrap.dedent(text).strip() for _, text in FAILING.values() for _ in range(2)]
    assert "addrsvc/pytest_plugin/" not in done.stdout, "the traceback is to end in the test"


LEAKING = """
    import socket, subprocess, threading

    left = []

    def test_descriptors(leak_check):
        left.append(socket.socket())

    def test_namespaces(leak_check):
        left.append(create())

    def test_threads(leak_check):
        threading.Thread(target=threading.Event().wait, daemon=True, name="forgotten").start()

    def test_processes(leak_check):
        left.append(subprocess.Popen(["sleep", "60"]))

    def test_nothing(leak_check):
        socket.socket().close()
        threading.Thread(target=lambda: None).start()
        left[-1].kill()
        left[-1].wait()

    def create():
        from addrsvc.pytest_plugin.namespaces import create

        return create("forgotten")
"""


def test_what_a_test_leaves_behind_is_listed(inner: Inner, netns: object) -> None:
    inner.write(LEAKING)
    done = inner.run("-v", "-W", "default")

    assert re.findall(r"left behind:\n  (.*)\n", re.sub(r"\d+", "N", done.stdout)) == [
        "descriptor N: socket:[N]",
        "descriptor N: network namespace net:[N]",
        "thread 'forgotten'",
        "process N: sleep",
    ], done.stdout
    assert "5 passed, 4 errors" in done.stdout


@pytest.mark.needs_cap_sys_admin
def test_a_name_that_is_left_behind_is_listed_unless_somebody_else_may_have_made_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"addrsvc-test-{os.getpid()}"
    try:
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
        with pytest.raises(AssertionError, match=f"network namespace '{name}' in /run/netns"), check_leaks():
            create_named(name).close()
        remove_named(name)
        monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
        with check_leaks():
            create_named(name).close()
    finally:
        remove_named(name)


def test_a_block_that_fails_is_not_asked_what_it_left() -> None:
    left: list[int] = []

    def leak_and_fail() -> None:
        left.append(os.open("/", os.O_RDONLY))
        raise LookupError

    with pytest.raises(LookupError), check_leaks():
        leak_and_fail()
    os.close(left.pop())
