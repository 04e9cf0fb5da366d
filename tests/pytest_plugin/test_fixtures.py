"""The plugin in use: what its fixtures give, and what becomes of tests that cannot have them."""

import importlib.util
import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.pytest_plugin.conftest import Inner

BOTH_KERNELS = """
    from addrsvc.pytest_plugin import assert_addresses, expect_messages

    def test_lo_coming_up_brings_the_loopback_addresses(kernel):
        with expect_messages(kernel, "...inet 127.0.0.1/8...", "...inet6 ::1/128...", only={"RTM_NEWADDR"}):
            kernel.link_set("lo", up=True)
        assert_addresses(kernel, "lo", "127.0.0.1/8", "::1/128 scope host proto kernel_lo")
"""
THE_MODEL = """
    from addrsvc.uapi import IFF_UP

    def test_they_are_one_machine(machine, net, lo):
        assert net is machine.init_net
        assert lo is net.net.loopback_dev
        assert not lo.flags & IFF_UP
        net.link_set("lo", up=True)
        assert lo.flags & IFF_UP

    def test_every_test_has_its_own(net):
        assert net.addresses("lo") == []
"""
A_NAMESPACE = """
    import os, socket
    import pytest
    from addrsvc.mirror.netns import run_in

    def test_it_is_fresh_and_not_ours(netns, leak_check):
        assert run_in(netns, socket.if_nameindex) == [(1, "lo")]
        assert netns.inode != os.stat("/proc/self/ns/net").st_ino

    def test_what_was_opened_inside_works_outside(kernel, netns):
        kernel.link_set("lo", up=True)
        with run_in(kernel.netns, socket.socket) as server:
            server.bind(("127.0.0.1", 0))

    @pytest.fixture(params=["namespace"])
    def kernel(request, netns):
        from addrsvc.mirror.rtnl import RtnlKernel

        with RtnlKernel(netns) as kernel:
            yield kernel
"""
MARKED = """
    import pytest

    @pytest.mark.needs_netns
    def test_a_namespace_can_be_had():
        pass

    @pytest.mark.needs_cap_sys_admin
    def test_a_name_can_be_given():
        pass
"""


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """The last line, without the time that it took."""
    assert done.stderr == ""
    return done.stdout.splitlines()[-1].rpartition(" in ")[0].strip("= ")


def test_the_model_is_there_for_everybody(inner: Inner) -> None:
    inner.write(THE_MODEL)
    done = inner.run("--netns=off", "-q")

    assert outcome(done) == "2 passed", done.stdout


def test_one_body_runs_on_both_kernels(inner: Inner, netns: object) -> None:
    inner.write(BOTH_KERNELS)
    done = inner.run("-v", "--netns=require")

    assert outcome(done) == "2 passed", done.stdout
    for kernel in ("model", "namespace"):
        assert f"test_lo_coming_up_brings_the_loopback_addresses[{kernel}] PASSED" in done.stdout


def test_a_namespace_of_the_running_kernel_is_fresh(inner: Inner, netns: object) -> None:
    inner.write(A_NAMESPACE)
    done = inner.run("-q", "--netns=require")

    assert outcome(done) == "2 passed", done.stdout


@pytest.mark.needs_cap_sys_admin
def test_marked_tests_run_where_they_can(inner: Inner) -> None:
    inner.write(MARKED)

    assert outcome(inner.run("-q", "--netns=require")) == "2 passed"


def test_without_privilege_namespaces_come_from_a_user_namespace(inner: Inner) -> None:
    inner.write(BOTH_KERNELS + A_NAMESPACE.replace("def kernel", "def other_kernel"))
    user = inner.unprivileged()
    unshared = subprocess.run([*user, "unshare", "-Un", "true"], capture_output=True, text=True, check=False)
    if unshared.returncode:
        pytest.skip(f"not everybody may have a user namespace here: {unshared.stderr.strip()}")
    done = inner.run("-q", user=user)

    assert outcome(done).endswith("passed"), done.stdout
    assert "skipped" not in outcome(done)


# Root of a user namespace that may have no other, without the capabilities that he has there.
NO_NAMESPACES = (
    "unshare", "--user", "--map-root-user", "sh", "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"', "sh",
)  # fmt: skip
REASON = "no namespace of the running kernel: creating network namespace "


@pytest.fixture
def no_namespaces() -> tuple[str, ...]:
    """The words that start a program which can make no namespace of any kind."""
    tried = subprocess.run([*NO_NAMESPACES, "unshare", "-Un", "true"], capture_output=True, text=True, check=False)
    if "No space left on device" not in tried.stderr:
        pytest.skip(f"no place without user namespaces can be made here: {tried.stderr.strip()}")
    return NO_NAMESPACES


def test_where_there_are_no_namespaces_their_tests_are_skipped_with_the_reason(
    inner: Inner, no_namespaces: tuple[str, ...]
) -> None:
    inner.write(BOTH_KERNELS + MARKED)
    done = inner.run("-q", user=no_namespaces)

    assert outcome(done) == "1 passed, 3 skipped", done.stdout
    assert REASON in done.stdout
    assert "user.max_user_namespaces" in done.stdout


def test_where_there_are_no_namespaces_their_tests_fail_if_they_are_required(
    inner: Inner, no_namespaces: tuple[str, ...]
) -> None:
    inner.write(BOTH_KERNELS + MARKED)
    done = inner.run("-q", "--netns=require", user=no_namespaces)

    assert outcome(done) == "1 passed, 3 errors", done.stdout
    assert "(--netns=require)" in done.stdout


def test_namespaces_can_be_left_out(inner: Inner) -> None:
    inner.write(BOTH_KERNELS + MARKED)
    done = inner.run("-q", "--netns=off")

    assert outcome(done) == "1 passed, 3 skipped", done.stdout
    assert "namespaces of the running kernel are left out (--netns=off)" in done.stdout


# --- in company -------------------------------------------------------------------------------------------------------


def test_workers_of_xdist_do_not_get_in_each_others_way(inner: Inner, netns: object) -> None:
    if importlib.util.find_spec("xdist") is None:
        pytest.skip("pytest-xdist is not installed")
    inner.write(
        BOTH_KERNELS
        + """
    import pytest

    @pytest.mark.parametrize("nth", range(20))
    def test_nothing_is_shared_and_nothing_left(leak_check, kernel, nth):
        assert_addresses(kernel, "lo")
        kernel.link_set("lo", up=True)
        kernel.addr_add(f"2001:db8::{nth:x}", "lo")
        assert_addresses(kernel, "lo", "127.0.0.1/8", f"2001:db8::{nth:x}/128" if nth else "2001:db8::/128", "::1/128")
    """
    )
    done = inner.run("-q", "-n2")

    assert outcome(done) == "42 passed", done.stdout


def test_it_may_be_named_on_the_command_line_as_well(inner: Inner, request: pytest.FixtureRequest) -> None:
    if not request.config.pluginmanager.has_plugin("addrsvc"):
        pytest.skip("addrsvc is not installed here, so that its plugin has no name")
    inner.write(THE_MODEL)

    assert outcome(inner.run("-q", "-p", "addrsvc")) == "2 passed"


def test_it_can_be_turned_off(inner: Inner, request: pytest.FixtureRequest) -> None:
    if not request.config.pluginmanager.has_plugin("addrsvc"):
        pytest.skip("addrsvc is not installed here, so that its plugin has no name")
    inner.write(THE_MODEL)
    done = inner.run("-q", "-p", "no:addrsvc")

    assert outcome(done) == "2 errors", done.stdout
    assert "fixture 'machine' not found" in done.stdout


# --- killed -----------------------------------------------------------------------------------------------------------

KILLED = """
    import os, signal, socket, threading
    from addrsvc.mirror.netns import create_rootless, run_in

    def test_that_does_not_end(netns, kernel, iproute, leak_check):
        rootless = create_rootless()
        running = kernel if hasattr(kernel, "netns") else None
        thread = threading.Thread(target=run_in, args=(netns, threading.Event().wait), daemon=True)
        thread.start()
        with socket.socket(fileno={report}) as report:
            socket.send_fds(report, [b"these"], [netns.fileno(), rootless.fileno()])
            os.kill(os.getpid(), signal.SIGKILL)
"""


def holders(inode: int) -> list[str]:
    """What of any other process leads to a network namespace: that it is in it, or has it open; and where it is
    mounted."""
    links = (link for pattern in ("*/task/*/ns/net", "*/fd/*") for link in Path("/proc").glob(f"[0-9]{pattern}"))
    others = (link for link in links if link.parts[2] != str(os.getpid()))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    name = f"net:[{inode}]"
    return [str(link) for link in others if leads_to(link) == name] + [line for line in mounts if name in line.split()]


def leads_to(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_killed_half_way_it_leaves_nothing(inner: Inner, netns: object) -> None:
    """Its namespaces are held here until the end, lest others get their numbers meanwhile."""
    ours, its = socket.socketpair()
    with ours, its:
        inner.write(KILLED.format(report=its.fileno()))
        with subprocess.Popen(
            inner.command("-q", "-k", "namespace"), cwd=inner.path, env=inner.environment,
            stdout=subprocess.DEVNULL, start_new_session=True, pass_fds=[its.fileno()],
        ) as killed:  # fmt: skip
            pass
        assert killed.returncode == -9
        _, fds, _, _ = socket.recv_fds(ours, 10, 2, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    with ExitStack() as held:
        for fd in fds:
            held.callback(os.close, fd)
        assert [holders(os.fstat(fd).st_ino) for fd in fds] == [[], []]
    with pytest.raises(ProcessLookupError):
        os.killpg(killed.pid, 0)
