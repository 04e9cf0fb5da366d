"""A run of the service from the boot of its model to its last line; nothing is left behind, however it ends."""

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from addrsvc.daemon.commands import INIT_NET
from addrsvc.daemon.exits import UNSENT
from addrsvc.daemon.printer import OutputError, Printer
from addrsvc.errors import ControlError

if TYPE_CHECKING:
    import socket

    from addrsvc.daemon.keeping import KeeperThread
    from addrsvc.daemon.log import Log
    from addrsvc.daemon.service import Service
    from addrsvc.daemon.systemd import Passed
    from addrsvc.keeper.config import Loaded
    from addrsvc.keeper.events import Ring

__all__ = ["booted", "bring_up", "keep", "mirror", "run", "shadow"]


def run(
    netns: Sequence[str],
    printer: Printer,
    *,
    seed: int = 0,
    once: bool = False,
    control: Path | None = None,
    verbose: bool = False,
) -> int:
    """Boot a model, mirror it, tell the story, and serve until SIGINT or SIGTERM.  Gives the exit code.

    Args:
        netns: the namespaces of the running kernel to mirror onto.
        printer: where the story is told.
        seed: of the model's chance.
        once: end after converging.
        control: the control socket, if not the default one.
        verbose: log what needed no action, too.

    Raises:
        OutputError: the story of a run with `once` could not be written; everything else was done.
        ServiceError: a service is running already, or there is no place for the socket.
        ControlError: a namespace does not exist, or is mirrored onto already.
        KernelError: a privilege is missing.
    """
    from addrsvc.daemon.systemd import passed_descriptors

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            sock = None if once else stack.enter_context(_control_socket(control, passed_descriptors()))
            service = booted(seed)
            with suppress(OutputError) if sock is not None else nullcontext():
                _converge(service, netns, printer, stack)
            if sock is not None:
                _serve(service, sock, printer, verbose=verbose)
    except KeyboardInterrupt:
        return 130 if once else 0
    finally:
        signal.signal(signal.SIGTERM, before)
    return UNSENT if once and any(followed.divergences for followed in service.mirrors.values()) else 0


def keep(
    file: Path | None,
    *,
    inside: str | None = None,
    seed: int = 0,
    once: bool = False,
    control: Path | None = None,
    as_json: bool = False,
    verbose: bool = False,
) -> int:
    """Keep the namespaces that the configuration names, and serve, until SIGINT or SIGTERM.  Gives the exit code.

    Args:
        file: the configuration, with what is in FILE.d; None for the standard places.
        inside: keep only the namespace that this process is in, by the rules for this name.
        seed: of the chance of the model that stands beside.
        once: look, mend, and end.
        control: the control socket, if not the default one.
        as_json: log JSON, one object a line, whatever the configuration says.
        verbose: log what needed no action, too, whatever it says.

    Raises:
        ConfigError: the configuration is wrong.
        ServiceError: a service is running already, or there is no place for the socket.
    """
    gc.collect()  # the command line's parser; what is loaded from here on takes its place
    from addrsvc.daemon.lean import share_one_heap, without
    from addrsvc.daemon.systemd import passed_descriptors
    from addrsvc.keeper.events import Ring
    from addrsvc.keeper.keep import Keeper

    with without("ssl"):  # asyncio would load it for transports that nobody uses here
        from addrsvc.daemon.server import serve

    share_one_heap()
    ring = Ring()
    with ExitStack() as stack:
        passed = passed_descriptors()
        thread = stack.enter_context(_keeper_thread(file, inside, ring, passed))
        sock = None if once else stack.enter_context(_control_socket(control, passed))
        log = _observe(thread, stack, as_json=as_json, verbose=verbose)
        stack.enter_context(_handling(signal.SIGHUP, lambda number, frame: thread.reload_soon()))
        stack.enter_context(_handling(signal.SIGTERM, signal.default_int_handler))
        with suppress(KeyboardInterrupt):
            thread.start()
            if sock is None:
                return 0 if thread.ask(Keeper.summary).lacking is None else UNSENT
            serve(partial(shadow, seed), sock, log, thread.serving, thread)
    if thread.failure is not None:
        raise thread.failure
    return 0


def _keeper_thread(file: Path | None, inside: str | None, ring: "Ring", passed: "list[Passed]") -> "KeeperThread":
    """What keeps the namespaces, with what the service manager has passed for it."""
    from addrsvc.daemon.keeping import KeeperThread
    from addrsvc.daemon.systemd import PROBE, netlink_sockets, passed_socket
    from addrsvc.daemon.unfinished import take_unfinished
    from addrsvc.daemon.vault import STORED
    from addrsvc.keeper.config import places
    from addrsvc.mirror.netns import has_cap_sys_admin

    return KeeperThread(
        lambda: places(file), ring, _end, may_enter=has_cap_sys_admin(), probe=passed_socket(passed, PROBE),
        sockets=netlink_sockets(passed), stored=netlink_sockets(passed, STORED),
        unfinished=take_unfinished(passed), inside=inside,
    )  # fmt: skip


def _observe(thread: "KeeperThread", stack: ExitStack, *, as_json: bool, verbose: bool) -> "Log":
    """Have what is told written into the log and counted, as the configuration in force says at each time."""
    from addrsvc.daemon.follow import LogFollower
    from addrsvc.daemon.log import Log
    from addrsvc.daemon.scraping import Scraping

    def log_words(loaded: "Loaded") -> tuple[str, str]:
        """How the log is written, and how serious what is in it must be; the command line counts more."""
        said = loaded.config.daemon
        return "json" if as_json else said.log_format, "debug" if verbose else said.log_level

    log = Log(*log_words(thread.loaded))
    follower = stack.enter_context(LogFollower(thread.ring, log))
    thread.when_reloaded(lambda loaded: follower.configure(*log_words(loaded)))
    scraping = stack.enter_context(Scraping(thread, thread.ring, log))
    scraping.configure(thread.loaded.config.metrics)
    thread.when_reloaded(lambda loaded: scraping.configure(loaded.config.metrics))
    return log


def _end() -> None:
    """End this process as a service manager would."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _handling(number: int, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def booted(seed: int = 0) -> "Service":
    """A service with a model just booted: its lo is down."""
    from addrsvc.daemon.service import Service
    from addrsvc.linux import Linux

    return Service(Linux(seed=seed, trace=True))


def shadow(seed: int = 0) -> "Service":
    """The model that stands beside a keeper, to be tried things on: its lo is up, as one is that is kept."""
    service = booted(seed)
    bring_up(service, INIT_NET)
    return service


def bring_up(service: "Service", net: str) -> None:
    """Bring a namespace's loopback device up."""
    service.ask("link_set", {"dev": _loopback(service, net), "up": True, "net": net})


def _loopback(service: "Service", net: str) -> str:
    """The name of a namespace's loopback device, its first one; a mirrored one may have been renamed."""
    return service.net(net).links()[0]


def _converge(service: "Service", netns: Sequence[str], printer: Printer, stack: ExitStack) -> None:
    with printer.listening(service):
        nets = [mirror(service, name, stack) for name in dict.fromkeys(netns)] or [INIT_NET]
        for net in nets:
            bring_up(service, net)
    for net in nets:
        shown = service.ask("addresses", {"dev": _loopback(service, net), "net": net})
        printer.print_addresses(net, shown["links"])
    for followed in service.mirrors.values():
        printer.print_sent(followed.name, followed.sent)


def _serve(service: "Service", sock: "socket.socket", printer: Printer, *, verbose: bool) -> None:
    from addrsvc.daemon.log import Log
    from addrsvc.daemon.server import serve

    with suppress(OutputError):
        printer.print_note("control", str(sock.getsockname()))
    with printer.listening_aside(service):
        serve(lambda: service, sock, Log("json" if printer.as_json else "auto", "debug" if verbose else "info"))


def mirror(service: "Service", name: str, stack: ExitStack, *, is_dry: bool = False) -> str:
    """Let a namespace of the running kernel follow one of the model's, of the same name, which is given back.

    Args:
        service: the service, whose model gets the namespace if it has none of that name.
        name: a name below /run/netns, a path, a process id, or ``host``.
        stack: what closes the kernel's namespace.
        is_dry: nothing is ever sent.

    Raises:
        ControlError: there is no such namespace, or it is mirrored onto already.
        KernelError: a privilege is missing.
    """
    from addrsvc.mirror.door import NetnsDoor
    from addrsvc.mirror.netns import HOST

    if name in service.mirrors:
        return service.mirrors[name].net.name
    _require_another(service, name)
    door = NetnsDoor(name, is_dry=is_dry)
    stack.callback(door.close)
    kernel = door.open()
    net = INIT_NET if name == HOST else name
    if net not in service.linux.nets:
        service.ask("net_add", {"net": net})
    service.follow(name, net, kernel, door=door, is_dry=is_dry)
    return net


def _require_another(service: "Service", name: str) -> None:
    from addrsvc.mirror.netns import leads_to

    there = leads_to(name)
    for other in service.mirrors:
        if there is not None and leads_to(other) == there:
            raise ControlError(f"netns: {other} and {name} are one and the same network namespace")


@contextmanager
def _control_socket(given: Path | None, passed: "list[Passed]") -> "Iterator[socket.socket]":
    from addrsvc.daemon.client import control_path
    from addrsvc.daemon.listen import control_socket
    from addrsvc.daemon.systemd import listening_socket

    inherited = listening_socket(passed, "control")
    if inherited is not None:
        with inherited:
            yield inherited
        return
    with ExitStack() as stack:
        path = given or control_path() or stack.enter_context(_private_directory()) / "control"
        yield stack.enter_context(control_socket(path))


@contextmanager
def _private_directory() -> Iterator[Path]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="addrsvc-", ignore_cleanup_errors=True) as name:
        yield Path(name)
