"""addrsvc.keeper.discover on namespaces, directories and processes of the running kernel."""

import fcntl
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from addrsvc.errors import ControlError
from addrsvc.keeper import discover
from addrsvc.keeper.book import Book
from addrsvc.keeper.discover import NOT_ALLOWED, Discovery
from addrsvc.keeper.loop import Loop
from addrsvc.mirror.libc import MS_BIND, NotMounted, mount, umount
from addrsvc.mirror.netns import NETNS_RUN_DIR, NetNs, create_named, remove_named
from tests.descriptors import descriptors
from tests.keeper.keeping import turn_until


class Door:
    """What is opened of a namespace before it is told of."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Told:
    """Notes what is told, and which namespace each descriptor leads to at that moment."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ...]] = []
        self.inodes: dict[str, int] = {}
        self.expected_ones: list[str] = []
        self.doors: list[Door] = []
        self.handed: list[object] = []

    def expected(self, label: str) -> None:
        self.expected_ones.append(label)

    def opened(self, label: str, netns_fd: int) -> "Door":
        door = Door(label)
        self.doors.append(door)
        return door

    def found(self, label: str, netns_fd: int, door: object) -> None:
        self.all.append(("found", label))
        self.handed.append(door)
        self.inodes[label] = os.fstat(netns_fd).st_ino

    def gone(self, label: str) -> None:
        self.all.append(("gone", label))

    def renamed(self, label: str, instead: str) -> None:
        self.all.append(("renamed", label, instead))

    def named(self, label: str) -> None:
        self.all.append(("named", label))

    def waiting(self, label: str, why: str) -> None:
        self.all.append(("waiting", label, why))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def discovery(loop: Loop, told: Told) -> Iterator[Discovery]:
    before = sorted(os.listdir("/proc/self/fd"))
    discovery = Discovery(loop, told)
    yield discovery
    discovery.close()
    assert sorted(os.listdir("/proc/self/fd")) == before, "a descriptor is left open"


def exactly(loop: Loop, told: Told, *expected: tuple[str, ...]) -> None:
    """Let the loop turn until these have been told, and nothing else."""
    with suppress(AssertionError):
        turn_until(loop, lambda: len(told.all) >= len(expected))
    loop.turn()
    assert told.all == list(expected)
    told.all.clear()


class Files:
    """A directory of files on which namespaces are mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def label(self, name: str) -> str:
        return str(self.path / name)

    def touch(self, name: str) -> Path:
        path = self.path / name
        path.touch()
        return path

    def bind(self, name: str, netns: NetNs) -> None:
        mount(f"/proc/self/fd/{netns.fileno()}", self.touch(name), MS_BIND)

    def unbind(self, name: str) -> None:
        umount(self.path / name)

    def remove(self, name: str) -> None:
        with suppress(NotMounted):
            self.unbind(name)
        (self.path / name).unlink()


@pytest.fixture
def files(tmp_path: Path, cap_sys_admin: None) -> Iterator[Files]:
    files = Files(tmp_path / "namespaces")
    files.path.mkdir()
    yield files
    for path in files.path.iterdir() if files.path.exists() else ():
        files.remove(path.name)


@pytest.fixture
def name(cap_sys_admin: None) -> Iterator[str]:
    """A name below /run/netns that nobody else uses."""
    name = f"addrsvc-test-{secrets.token_hex(6)}"
    yield name
    if (NETNS_RUN_DIR / name).exists():
        remove_named(name)


# --- before it is found -------------------------------------------------------------------------------------------


def test_a_name_is_expected_to_lead_somewhere_before_it_does(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    discovery.select([files.label("*")])
    files.touch("a")
    turn_until(loop, lambda: told.expected_ones)
    assert told.expected_ones == [files.label("a")]
    assert told.doors == []

    files.bind("a", blue)
    exactly(loop, told, ("found", files.label("a")))
    assert told.handed == told.doors
    assert [(door.label, door.is_closed) for door in told.doors] == [(files.label("a"), False)]


def test_what_was_opened_of_one_that_has_gone_before_it_is_found_is_closed(told: Told, blue: NetNs) -> None:
    book = Book(told)
    held = book.enter("blue", os.dup(blue.fileno()))
    book.leave("blue", held)
    book.settle()
    assert [door.is_closed for door in told.doors] == [True]
    assert told.all == []


def test_another_name_opens_nothing_again(told: Told, blue: NetNs) -> None:
    book = Book(told)
    for label in ("blue", "azure"):
        book.enter(label, os.dup(blue.fileno()))
    book.settle()
    assert [door.label for door in told.doors] == ["blue"]
    assert told.all == [("found", "blue")]
    book.close()


# --- names --------------------------------------------------------------------------------------------------------


def test_the_host_is_always_there(discovery: Discovery, loop: Loop, told: Told) -> None:
    assert discovery.select(["host"]) == []

    exactly(loop, told, ("found", "host"))
    assert told.inodes["host"] == os.stat("/proc/self/ns/net").st_ino
    assert discovery.waiting() == {}


def test_what_is_there_is_found_and_what_is_not_is_waited_for(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    files.bind("blue", blue)

    discovery.select([files.label("blue"), files.label("red")])

    exactly(loop, told, ("found", files.label("blue")), ("waiting", files.label("red"), "there is no such namespace"))
    assert told.inodes[files.label("blue")] == blue.inode
    assert discovery.waiting() == {files.label("red"): "there is no such namespace"}


def test_a_name_is_followed_as_it_comes_and_goes(discovery: Discovery, loop: Loop, told: Told, name: str) -> None:
    discovery.select([f"{name}*"])
    for _ in range(2):
        with create_named(name) as netns:
            exactly(loop, told, ("found", name))
            assert told.inodes[name] == netns.inode
        remove_named(name)
        exactly(loop, told, ("gone", name))
    assert discovery.waiting() == {}


def test_a_name_that_is_waited_for_is_found(discovery: Discovery, loop: Loop, told: Told, name: str) -> None:
    discovery.select([name])
    exactly(loop, told, ("waiting", name, "there is no such namespace"))

    with create_named(name):
        exactly(loop, told, ("found", name))
    assert discovery.waiting() == {}

    remove_named(name)
    exactly(loop, told, ("gone", name))
    assert discovery.waiting() == {name: "there is no such namespace"}


def test_a_file_is_waited_for_until_a_namespace_is_mounted_on_it(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    discovery.select([files.label("*")])
    files.touch("blue")
    turn_until(loop, lambda: files.label("blue") in discovery.waiting())
    assert told.all == []

    files.bind("blue", blue)

    exactly(loop, told, ("found", files.label("blue")))


def test_a_file_that_is_no_namespace_is_told(discovery: Discovery, loop: Loop, told: Told, files: Files) -> None:
    files.touch("blue")

    discovery.select([files.label("*")])

    exactly(loop, told, ("waiting", files.label("blue"), "it is not, or not yet, a network namespace"))


def test_a_namespace_of_another_kind_is_none(discovery: Discovery, loop: Loop, files: Files) -> None:
    mount("/proc/self/ns/uts", files.touch("names"), MS_BIND)

    discovery.select([files.label("names")])

    assert discovery.waiting() == {files.label("names"): "it is not, or not yet, a network namespace"}


def test_what_is_no_namespace_is_not_even_opened(discovery: Discovery, files: Files) -> None:
    """Opening a device may have effects; here it is a file with a lease, which who opens it breaks."""
    with files.touch("leased").open("r+b") as leased:
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        discovery.select([files.label("leased")])
        lease = fcntl.fcntl(leased, fcntl.F_GETLEASE)
        signal.signal(signal.SIGIO, before)

    assert lease == fcntl.F_WRLCK
    assert discovery.waiting() == {files.label("leased"): "it is not, or not yet, a network namespace"}


def test_a_fifo_holds_nobody_up(discovery: Discovery, loop: Loop, files: Files) -> None:
    os.mkfifo(files.path / "pipe")

    discovery.select([files.label("pipe")])

    assert list(discovery.waiting()) == [files.label("pipe")]


def test_a_name_that_is_made_again_before_anybody_looks_is_another_one(
    discovery: Discovery, loop: Loop, told: Told, name: str
) -> None:
    discovery.select([name])
    told.all.clear()
    create_named(name).close()
    exactly(loop, told, ("found", name))
    first = told.inodes[name]

    remove_named(name)
    with create_named(name) as second:
        exactly(loop, told, ("gone", name), ("found", name))
        assert told.inodes[name] == second.inode != first


def test_what_has_come_and_gone_before_anybody_looks_is_not_told(
    discovery: Discovery, loop: Loop, told: Told, name: str
) -> None:
    discovery.select([f"{name}*"])
    create_named(name).close()
    remove_named(name)

    exactly(loop, told)


def test_a_name_that_is_mounted_upon_again_is_another_one(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    files.bind("name", blue)
    discovery.select([files.label("name")])
    exactly(loop, told, ("found", files.label("name")))

    files.unbind("name")
    files.bind("name", red)

    exactly(loop, told, ("gone", files.label("name")), ("found", files.label("name")))
    assert told.inodes[files.label("name")] == red.inode
    files.unbind("name")
    exactly(loop, told, ("gone", files.label("name")))
    assert list(discovery.waiting()) == [files.label("name")]


# --- one namespace, several names ---------------------------------------------------------------------------------


def test_a_second_name_is_an_alias_that_takes_over(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    first, second = files.label("a"), files.label("b")
    files.bind("a", blue)
    files.bind("b", blue)
    discovery.select([files.label("*")])
    exactly(loop, told, ("found", first))
    assert discovery.aliases() == {first: (second,)}

    files.remove("a")
    exactly(loop, told, ("renamed", first, second), ("named", second))
    assert discovery.aliases() == {}

    files.remove("b")
    exactly(loop, told, ("gone", second))


def test_another_name_is_told_as_it_comes_and_goes(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    a, b = files.label("a"), files.label("b")
    files.bind("a", blue)
    discovery.select([files.label("*")])
    exactly(loop, told, ("found", a))
    assert discovery.names(b) == (b,)

    files.bind("b", blue)
    exactly(loop, told, ("named", a))
    assert discovery.names(a) == discovery.names(b) == (a, b)

    files.remove("b")
    exactly(loop, told, ("named", a))
    assert discovery.names(a) == (a,)


def test_two_namespaces_that_change_names_are_told_apart(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    a, b = files.label("a"), files.label("b")
    files.bind("a", blue)
    files.bind("b", red)
    discovery.select([a, b])
    exactly(loop, told, ("found", a), ("found", b))

    for name, netns in (("a", red), ("b", blue)):
        files.unbind(name)
        files.bind(name, netns)
    exactly(loop, told, ("gone", a), ("renamed", b, a), ("named", a), ("found", b))
    assert told.inodes == {a: blue.inode, b: blue.inode}
    assert (discovery.names(a), discovery.names(b)) == ((a,), (b,))


@pytest.fixture
def host_file(files: Files) -> str:
    """Another name of the host's namespace, as docker has one for containers that are in it."""
    mount("/proc/self/ns/net", files.touch("default"), MS_BIND)
    return files.label("default")


def test_no_glob_means_the_host(
    discovery: Discovery, loop: Loop, told: Told, files: Files, host_file: str, blue: NetNs
) -> None:
    discovery.select([files.label("*")])
    exactly(loop, told)
    assert discovery.waiting() == {}

    files.unbind("default")
    files.bind("default", blue)
    exactly(loop, told, ("found", host_file))


def test_who_means_another_name_of_the_host_means_the_host(
    discovery: Discovery, loop: Loop, told: Told, files: Files, host_file: str
) -> None:
    discovery.select([host_file])
    exactly(loop, told, ("found", "host"))
    assert discovery.names(host_file) == discovery.names("host") == ("host", host_file)

    assert discovery.select(["host", host_file]) == []
    assert discovery.select(["host", files.label("*")]) == []
    exactly(loop, told, ("named", "host"))
    assert discovery.names("host") == ("host",)

    assert discovery.select([files.label("*")]) == ["host"]
    discovery.forget("host")
    exactly(loop, told)


def test_a_name_of_the_host_may_come_and_go(
    discovery: Discovery, loop: Loop, told: Told, files: Files, host_file: str
) -> None:
    discovery.select([files.label("*"), host_file])
    exactly(loop, told, ("found", "host"))

    files.remove("default")
    exactly(loop, told, ("gone", "host"))


# --- descriptors ------------------------------------------------------------------------------------------------------


def test_the_last_descriptors_are_left_for_other_things(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    files.bind("blue", blue)
    with descriptors(8):
        discovery.select([files.label("*")])
        exactly(loop, told, ("waiting", files.label("blue"), "this process has too many files open"))

    files.bind("red", red)

    turn_until(loop, lambda: len(told.all) == 2)
    assert sorted(told.all) == [("found", files.label("blue")), ("found", files.label("red"))]


def test_what_there_was_no_descriptor_for_is_found_later(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover, "_TRY_AGAIN", 0.01)
    files.bind("blue", blue)
    with descriptors(8):
        discovery.select([files.label("*")])
        turn_until(loop, lambda: len(told.all) == 1)
        loop.turn(0.02)
        exactly(loop, told, ("waiting", files.label("blue"), "this process has too many files open"))
    exactly(loop, told, ("found", files.label("blue")))
    with descriptors(0):
        discovery.select([files.label("*"), files.label("green")])
        loop.turn(0.02)
        told.all.clear()
    turn_until(loop, lambda: discovery.waiting() == {files.label("green"): "there is no such namespace"})
    assert told.all == []


def test_what_cannot_be_listed_has_not_gone(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    files.bind("blue", blue)
    discovery.select([files.label("*")])
    exactly(loop, told, ("found", files.label("blue")))
    with descriptors(0):
        discovery.select([files.label("*"), files.label("green")])
        why = f"{files.path} cannot be listed: Too many open files"
        exactly(loop, told, *(("waiting", files.label(name), why) for name in ("green", "*")))

    files.bind("red", red)
    exactly(loop, told, ("found", files.label("red")))
    assert discovery.waiting() == {files.label("green"): "there is no such namespace"}


# --- directories --------------------------------------------------------------------------------------------------


def test_a_directory_is_waited_for_from_its_nearest_ancestor_on(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    deep = Files(files.path / "one" / "two" / "three")
    discovery.select([deep.label("blue")])
    exactly(loop, told, ("waiting", deep.label("blue"), "there is no such namespace"))

    deep.path.mkdir(parents=True)
    loop.turn()
    deep.bind("blue", blue)
    exactly(loop, told, ("found", deep.label("blue")))

    deep.remove("blue")
    exactly(loop, told, ("gone", deep.label("blue")))
    for path in (deep.path, deep.path.parent, deep.path.parent.parent):
        path.rmdir()
        loop.turn(0.1)
    deep.path.mkdir(parents=True)
    deep.bind("blue", blue)
    exactly(loop, told, ("found", deep.label("blue")))
    deep.remove("blue")
    exactly(loop, told, ("gone", deep.label("blue")))
    for path in (deep.path, deep.path.parent, deep.path.parent.parent):
        path.rmdir()


def test_a_directory_that_is_made_with_all_it_holds_is_missed_by_nobody(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    deep = Files(files.path / "one" / "two")
    discovery.select([deep.label("*")])

    deep.path.mkdir(parents=True)
    deep.bind("blue", blue)
    deep.bind("red", red)

    exactly(loop, told, ("found", deep.label("blue")), ("found", deep.label("red")))
    deep.remove("blue")
    deep.remove("red")
    deep.path.rmdir()
    deep.path.parent.rmdir()


def test_a_directory_that_is_mounted_upon_is_another_one(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, tmp_path: Path
) -> None:
    other = Files(tmp_path / "other")
    other.path.mkdir()
    other.bind("blue", blue)
    discovery.select([files.label("*")])
    exactly(loop, told)

    subprocess.run(["mount", "--rbind", other.path, files.path], check=True)
    try:
        exactly(loop, told, ("found", files.label("blue")))
    finally:
        umount(files.path)
    exactly(loop, told, ("gone", files.label("blue")))
    other.remove("blue")


def test_more_names_than_the_kernel_keeps_news_of_are_all_found(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    discovery.select([files.label("blue"), files.label("none")])
    told.all.clear()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    other = files.path / "other"
    for _ in range(limit // 2 + 1):
        other.touch()
        other.unlink()

    files.bind("blue", blue)

    exactly(loop, told, ("found", files.label("blue")))


def test_a_directory_that_may_not_be_read_is_waited_for_with_a_reason(
    loop: Loop, told: Told, tmp_path: Path, cap_sys_admin: None
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = (
        "import os\n"
        "from addrsvc.keeper.discover import Discovery\n"
        "from addrsvc.keeper.loop import Loop\n"
        "class Told:\n"
        "    def waiting(self, label, why): print(label, why)\n"
        "with Loop() as loop:\n"
        "    discovery = Discovery(loop, Told())\n"
        "    os.setresuid(65534, 65534, 65534)\n"
        f"    discovery.select(['{closed}/x', '{closed}/*'])\n"
    )
    if os.geteuid() != 0:
        pytest.skip("becoming somebody else needs to be root")

    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert [line.split(" ")[0] for line in said.splitlines()] == [f"{closed}/x", f"{closed}/*"]
    assert said.count(" cannot be watched: Permission denied\n") == 2


# --- processes ----------------------------------------------------------------------------------------------------


def test_a_process_is_followed_until_it_ends(discovery: Discovery, loop: Loop, told: Told, cap_sys_admin: None) -> None:
    process = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"
    label = f"pid:{process.pid}"
    inode = os.stat(f"/proc/{process.pid}/ns/net").st_ino

    discovery.select([label])
    exactly(loop, told, ("found", label))
    assert told.inodes[label] == inode
    process.communicate()

    exactly(loop, told, ("gone", label))
    assert discovery.waiting() == {label: "the process has ended"}


def test_a_process_that_is_not_there_is_waited_for(discovery: Discovery, loop: Loop, told: Told) -> None:
    discovery.select(["pid:4194304", "pid:99999999999999999999"])

    exactly(
        loop,
        told,
        ("waiting", "pid:4194304", "there is no such process"),
        ("waiting", "pid:99999999999999999999", "there is no such process"),
    )


def test_a_process_in_a_namespace_that_is_known_is_an_alias(discovery: Discovery, loop: Loop, told: Told) -> None:
    discovery.select(["host", f"pid:{os.getpid()}"])

    exactly(loop, told, ("found", "host"))
    assert discovery.aliases() == {"host": (f"pid:{os.getpid()}",)}


# --- what is wanted changes ---------------------------------------------------------------------------------------


def test_what_is_not_meant_any_more_is_followed_until_it_is_forgotten(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs, red: NetNs
) -> None:
    a, b = files.label("a"), files.label("b")
    files.bind("a", blue)
    files.bind("b", red)
    discovery.select([a, b])
    exactly(loop, told, ("found", a), ("found", b))

    assert discovery.select(["host"]) == [a, b]
    exactly(loop, told, ("found", "host"))
    files.remove("a")
    exactly(loop, told, ("gone", a))
    discovery.forget(b)
    files.remove("b")

    exactly(loop, told)
    assert discovery.select(["host"]) == []


def test_what_is_meant_before_and_after_is_not_told_again(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    files.bind("a", blue)
    discovery.select([files.label("a"), files.label("b")])
    told.all.clear()

    assert discovery.select([files.label("*"), files.label("b")]) == []

    exactly(loop, told)


def test_a_name_that_is_not_meant_any_more_gives_way_to_one_that_is(
    discovery: Discovery, loop: Loop, told: Told, files: Files, blue: NetNs
) -> None:
    a, b = files.label("a"), files.label("b")
    files.bind("a", blue)
    files.bind("b", blue)
    discovery.select([a, b])
    exactly(loop, told, ("found", a))

    assert discovery.select([b]) == []

    exactly(loop, told, ("renamed", a, b), ("named", b))


def test_a_selector_that_means_nothing_changes_nothing(discovery: Discovery, loop: Loop, told: Told) -> None:
    discovery.select(["host"])
    with pytest.raises(ControlError):
        discovery.select(["a/b"])

    assert discovery.select(["host"]) == []
    exactly(loop, told, ("found", "host"))


def test_who_may_enter_nothing_finds_the_host_alone(loop: Loop, told: Told, files: Files, blue: NetNs) -> None:
    files.bind("a", blue)
    discovery = Discovery(loop, told, may_enter=False)
    others = files.label("a"), f"pid:{os.getpid()}", "docker:*", "web-*"
    discovery.select(["host", *others, "blue"])

    at_last = {"blue": f"{NOT_ALLOWED}, or addrsvc-netlink@blue.socket to be started"}
    assert discovery.waiting() == dict.fromkeys(others, NOT_ALLOWED) | at_last
    exactly(loop, told, ("found", "host"), *(("waiting", *item) for item in discovery.waiting().items()))
    discovery.close()
