"""addrsvc.mirror.netns on namespaces of the running kernel."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from errno import EEXIST, EPERM
from pathlib import Path

import pytest

from addrsvc.errors import ControlError, KernelError
from addrsvc.mirror.netns import (
    NETNS_RUN_DIR,
    NetNs,
    NoNetns,
    claim,
    create_anonymous,
    create_named,
    create_rootless,
    leads_to,
    open_netns,
    remove_named,
    run_in,
)


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A name below /run/netns that nobody else uses; whatever the test leaves there is taken away."""
    name = f"addrsvc-test-{os.getpid()}"
    yield name
    if (NETNS_RUN_DIR / name).exists():
        remove_named(name)


def interfaces() -> list[tuple[int, str]]:
    return socket.if_nameindex()


def test_the_word_host_is_the_namespace_we_are_in() -> None:
    with open_netns("host") as here:
        assert here.inode == Path("/proc/self/ns/net").stat().st_ino


def test_the_word_host_is_said_from_the_callers_thread(netns: NetNs) -> None:
    def inode_of_host() -> int:
        with open_netns("host") as here:
            return here.inode

    assert run_in(netns, inode_of_host) == netns.inode


def test_a_process_id_is_the_namespace_of_that_process() -> None:
    with open_netns(str(os.getpid())) as by_pid, open_netns("host") as here:
        assert by_pid.inode == here.inode


def test_a_path_is_opened_as_it_is(netns: NetNs) -> None:
    with open_netns(f"/proc/self/fd/{netns.fileno()}") as by_path:
        assert by_path.inode == netns.inode


def test_a_fresh_namespace_has_lo_alone(netns: NetNs) -> None:
    assert run_in(netns, interfaces) == [(1, "lo")]


@pytest.mark.needs_cap_sys_admin
def test_every_anonymous_namespace_is_another(netns: NetNs) -> None:
    with create_anonymous() as other, open_netns("host") as here:
        assert len({netns.inode, other.inode, here.inode}) == 3


def test_the_caller_stays_where_it_was(netns: NetNs) -> None:
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    run_in(netns, interfaces)

    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


@pytest.mark.needs_cap_sys_admin
def test_the_thread_that_entered_has_ended(netns: NetNs) -> None:
    inside = run_in(netns, threading.current_thread)

    assert inside is not threading.current_thread()
    assert not inside.is_alive()


def test_a_socket_opened_inside_works_outside(netns: NetNs) -> None:
    """lo is down in there, so an address that everybody has is out of reach for that socket alone."""
    with run_in(netns, socket.socket) as inside, pytest.raises(OSError, match="Network is unreachable"):
        inside.connect(("127.0.0.1", 9))


def test_an_exception_of_the_function_comes_back(netns: NetNs) -> None:
    def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        run_in(netns, fail)


def test_a_handle_may_be_closed_twice(netns: NetNs) -> None:
    other = netns.dup()
    other.close()
    other.close()

    assert other.fileno() == -1
    assert netns.fileno() >= 0


def test_a_named_namespace_is_found_by_its_name_and_gone_when_removed(name: str) -> None:
    with create_named(name) as made, open_netns(name) as found:
        assert made.inode == found.inode
        remove_named(name)
        assert not (NETNS_RUN_DIR / name).exists()
        assert run_in(found, interfaces) == [(1, "lo")]


def test_names_are_on_a_shared_mount_as_ip_has_them(name: str) -> None:
    create_named(name).close()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    run_dir = [line for line in lines if line.split()[4] == str(NETNS_RUN_DIR)]

    assert len(run_dir) == 1
    assert " shared:" in run_dir[0]


def test_a_name_is_made_once(name: str) -> None:
    create_named(name).close()
    with pytest.raises(KernelError) as refused:
        create_named(name)

    assert refused.value.errno == EEXIST
    assert str(refused.value) == f'network namespace "{name}" exists already (EEXIST)'


def test_a_missing_name_is_said_plainly() -> None:
    with pytest.raises(NoNetns) as refused:
        open_netns("no-such-namespace")

    assert str(refused.value) == 'no network namespace "no-such-namespace"'


def test_a_missing_process_is_said_plainly() -> None:
    with pytest.raises(NoNetns, match=r"^no network namespace of process 99999999$"):
        open_netns("99999999")


def test_removing_a_missing_name_is_said_plainly(netns: NetNs) -> None:
    with pytest.raises(NoNetns, match='no network namespace "no-such-namespace"'):
        remove_named("no-such-namespace")


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/ns/mnt", "/proc/self/exe"])
def test_what_is_no_network_namespace_is_refused(path: str) -> None:
    with pytest.raises(NoNetns) as refused:
        open_netns(path)

    assert str(refused.value) == f"{path} is not a network namespace"


def test_a_name_leads_to_one_namespace_however_it_is_spelled(name: str) -> None:
    assert leads_to(name) is None
    with create_named(name) as made:
        assert leads_to(name) == leads_to(str(NETNS_RUN_DIR / name)) == made.identity
    remove_named(name)
    assert leads_to(name) is None


def test_a_namespace_is_claimed_once_whatever_it_is_called(netns: NetNs) -> None:
    claim(netns)
    with open_netns(f"/proc/self/fd/{netns.fileno()}") as same, pytest.raises(ControlError) as refused:
        claim(same)

    assert str(refused.value) == f"{same.label} is mirrored onto already by process {os.getpid()}"


def test_a_claim_ends_with_the_last_handle_that_was_made_of_the_one_it_was_made_with(netns: NetNs) -> None:
    path = f"/proc/self/fd/{netns.fileno()}"
    with open_netns(path) as first, open_netns(path) as second:
        claim(first)
        other = first.dup()
        first.close()
        with pytest.raises(ControlError, match="is mirrored onto already"):
            claim(second)
        other.close()
        claim(second)


def test_a_claim_ends_with_its_process(netns: NetNs) -> None:
    if (child := os.fork()) == 0:
        claim(open_netns(f"/proc/self/fd/{netns.fileno()}"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    claim(netns)


@pytest.mark.parametrize("name", ["", ".", "..", "host", "12", "a/b"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ControlError, match="is no name"):
        create_named(name)


@pytest.mark.needs_cap_sys_admin
def test_without_privilege_the_missing_capability_is_named(netns: NetNs) -> None:
    """A forked child drops its privileges for good, and tells what it was told."""
    assert in_a_child_without_privilege(lambda: create_anonymous("t")) == (
        f'creating network namespace "t" needs CAP_SYS_ADMIN {EPERM}'
    )
    assert in_a_child_without_privilege(lambda: run_in(netns, interfaces)) == (
        f"entering {netns.label} needs CAP_SYS_ADMIN {EPERM}"
    )


def in_a_child_without_privilege(function: object) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setgid(65534)
        os.setuid(65534)
        try:
            function()  # type: ignore[operator]
        except KernelError as error:
            os.write(writer, f"{error.extack} {error.errno}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as told:
        text = told.read()
    os.waitpid(child, 0)
    return text


# --- without privilege ----------------------------------------------------------------------------------------------

ROOTLESS = """
import os, socket
from addrsvc.mirror.netns import create_rootless, run_in
from addrsvc.mirror.rtnl import RtnlKernel

with create_rootless("mine") as netns, RtnlKernel(netns) as kernel, kernel.watch() as watch:
    before = set(os.listdir("/proc/self/fd"))
    kernel.link_set("lo", up=True)
    said = len(list(watch))
    server = run_in(netns, lambda: socket.create_server(("::1", 0), family=socket.AF_INET6))
    kernel.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
    addresses = [str(address.network) for address in kernel.addresses("lo")]
    print(run_in(netns, os.getuid), run_in(netns, socket.if_nameindex), said, addresses, os.getuid() == 0)
    server.close()
    assert set(os.listdir("/proc/self/fd")) == before
"""


def test_without_privilege_a_namespace_comes_with_a_user_namespace_and_is_all_ours() -> None:
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    done = run_without_privilege([] if os.geteuid() else words, ROOTLESS)

    assert (done.stderr, done.stdout) == ("", "0 [(1, 'lo')] 9 ['127.0.0.1/8'] False\n")


def run_without_privilege(words: list[str], script: str) -> subprocess.CompletedProcess[str]:
    if words and shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]}(1) to lay down root's privileges with")
    for can in (["unshare", "-Un", "true"], [sys.executable, "-c", "import addrsvc"]):
        tried = subprocess.run([*words, *can], capture_output=True, text=True, check=False)
        if tried.returncode:
            pytest.skip(f"not everybody can do this here: {tried.stderr.strip()}")
    return subprocess.run([*words, sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_a_rootless_namespace_serves_its_maker_with_and_without_privilege_alike(netns: NetNs) -> None:
    with create_rootless("both") as rootless:
        assert run_in(rootless, interfaces) == [(1, "lo")]
        assert rootless.inode not in (netns.inode, Path("/proc/self/ns/net").stat().st_ino)


def test_where_user_namespaces_are_used_up_it_is_said_what_to_look_at() -> None:
    script = (
        'from addrsvc.mirror.netns import create_rootless\ntry: create_rootless("t")\nexcept OSError as e: print(e)'
    )
    words = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        'echo 0 > /proc/sys/user/max_user_namespaces; "$@"',
        "sh",
    ]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode or tried.stderr:
        pytest.skip(f"no such place can be made here: {tried.stderr.strip()}")
    done = subprocess.run([*words, sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout == (
        'creating network namespace "t" needs CAP_SYS_ADMIN or a user namespace; see user.max_user_namespaces, '
        "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns (ENOSPC)\n"
    )
