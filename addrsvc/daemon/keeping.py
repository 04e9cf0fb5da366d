"""The keeper as the rest of the service sees it: a thread of its own, asked by others, and never waiting for them."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from addrsvc.daemon.courier import Courier
from addrsvc.daemon.lean import settle, take_descriptors
from addrsvc.daemon.systemd import notify, reloading, runtime_directory
from addrsvc.daemon.unfinished import ManagersSafe, finish_all
from addrsvc.daemon.vault import Vault, netns_of
from addrsvc.daemon.vitals import Vitals
from addrsvc.errors import AddrsvcError, ConfigError
from addrsvc.keeper.alone import Alone, NameWatch
from addrsvc.keeper.config import Config, Loaded, load
from addrsvc.keeper.events import Ring
from addrsvc.keeper.keep import Keeper, Rules
from addrsvc.keeper.kept import Kept
from addrsvc.keeper.loop import Loop
from addrsvc.keeper.places import HOST, Place
from addrsvc.keeper.settings import Method
from addrsvc.keeper.watch import AutoWatch, SocketWatch, Watch
from addrsvc.mirror.netns import NETNS_RUN_DIR

if TYPE_CHECKING:
    import socket

__all__ = ["KeeperThread", "NotRunning"]

T = TypeVar("T")

_WATCHES: "Final[Mapping[Method, Callable[..., Watch[Kept]]]]" = {
    Method.AUTO: AutoWatch,
    Method.SOCKETS: SocketWatch,
    Method.NSID: partial(AutoWatch, many=0),
}

_ASTRAY: Final = "the socket that was opened there is of a namespace that has lost this name: it has to be opened anew"
_WISHED: Final = "it is there, and waits for systemd to open a socket in it, as addrsvc-netlink@.socket does"
_WISHES: Final = "astray"
"""The directory in which a file asks for a socket to be opened anew."""

_SWITCH_SECONDS: Final = 0.0005
"""How long another thread may keep the interpreter for itself when the keeper has something to repair."""


class NotRunning(AddrsvcError):
    """The keeper has ended, or has not begun."""


class KeeperThread:
    """A keeper in a thread of its own.

    Args:
        files: gives the files of the configuration, again and again.
        ring: where everything is told.
        ended: called, in the keeper's thread, when there is nothing to keep any more, or a bug has ended it.
        may_enter: whether other namespaces than the host's may be entered.
        probe: an IPv6 socket to bind, where this process may make none.
        sockets: netlink sockets that somebody has opened in namespaces, by what those are called.
        stored: netlink sockets that an earlier process of this service has left.
        unfinished: what an earlier process of this service was killed in the middle of, by what systemd calls it.
        inside: what the one namespace is called that is kept, where it is the one that this process is in.

    Attributes:
        may_enter, inside: as they were given.
        loaded: the configuration in force.
        courier: tells the service manager what the keeper's thread has to say.

    Raises:
        ConfigError: it is wrong.
    """

    def __init__(
        self,
        files: Callable[[], Sequence[Path]],
        ring: Ring,
        ended: Callable[[], object],
        *,
        may_enter: bool = True,
        probe: "socket.socket | None" = None,
        sockets: "Mapping[str, socket.socket] | None" = None,
        stored: "Mapping[str, socket.socket] | None" = None,
        unfinished: "dict[str, list[int]] | None" = None,
        inside: str | None = None,
    ) -> None:
        self.ring: Final = ring
        self.loaded: Loaded = load(files())
        self.failure: BaseException | None = None
        self._files = files
        self._ended = ended
        self.may_enter: Final = may_enter
        self._probe = probe
        self._sockets = sockets or {}
        self.courier: Final = Courier()
        self._vault = Vault(stored or {}, self.courier)
        self._unfinished = unfinished or {}
        self.inside: Final = inside
        self._loop = Loop()
        self._keeper: Keeper | None = None
        self._vitals: Vitals | None = None
        self._reloading = threading.Lock()
        self._reloaded: list[Callable[[Loaded], object]] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep; comes back when every namespace that is there was looked at."""
        import sys

        sys.setswitchinterval(_SWITCH_SECONDS)
        self._thread.start()
        self._started.wait()
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    def close(self) -> None:
        """End it; addresses stay where they are."""
        if self._thread.ident is not None:
            self._loop.stop()
            self._thread.join()
        self.courier.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._keep()
        except BaseException as error:
            self.failure = error
            self._ended()
        finally:
            self._started.set()

    def _keep(self) -> None:
        config = self.loaded.config
        take_descriptors()
        _take_priority(config.daemon.realtime, self.ring)
        keeper = self._keeper = Keeper(
            self._loop, self.ring, self._rules(config), may_enter=self.may_enter, here=self.inside or HOST,
            sweep=config.watch.sweep,
            make_watch=partial(
                _WATCHES[config.watch.method], largest=config.watch.receive_buffer, sockets=self._vault
            ),
        )  # fmt: skip
        keeper.mender.safe = ManagersSafe()
        with ExitStack() as stack:
            stack.callback(self._let_go, keeper)
            if self.inside is not None:
                stack.callback(NameWatch(self._loop, self.inside, self._name_gone).close)
            finish_all(self._unfinished, self.ring)
            for label, sock in self._sockets.items():
                self._adopt(keeper, label, sock, stack)
            if not self.may_enter:
                self._wait_for_sockets(keeper.rules, stack)
            self._vitals = Vitals(
                keeper, self._loop, self.ring, self.courier, patience=config.daemon.patience, probe=self._probe
            )
            keeper.start()
            self._vault.tidy()
            settle()
            self._started.set()
            self._loop.run()

    def _adopt(self, keeper: Keeper, label: str, sock: "socket.socket", stack: ExitStack) -> None:
        """Keep the namespace of a socket as long as that is what its name leads to."""
        netns = netns_of(sock)
        if netns is None:
            keeper.adopt(label, sock)
            return
        watch = NameWatch(
            self._loop, label, partial(self._astray, keeper, label), netns, back=partial(self._reopen, label)
        )
        stack.callback(watch.close)
        if watch.leads_elsewhere():
            self._astray(keeper, label)
            watch.look()
        else:
            keeper.adopt(label, sock)

    def _wait_for_sockets(self, rules: Rules, stack: ExitStack) -> None:
        """Ask for sockets of namespaces that are named, cannot be entered, and are there, or will be."""
        for label in rules.selectors():
            place = Place.of(label)
            if place.directory == str(NETNS_RUN_DIR) and not place.is_glob and label not in self._sockets:
                watch = NameWatch(self._loop, label, lambda: None, back=partial(self._reopen, label))
                stack.callback(watch.close)
                watch.look()

    def _astray(self, keeper: Keeper, label: str) -> None:
        keeper.disown(label)
        self.ring.tell("waiting", label, None, why=_ASTRAY)

    def _reopen(self, label: str) -> None:
        """Ask systemd to open the socket of the namespace that has this name now (addrsvc-netlink@.path)."""
        directory = runtime_directory(_WISHES)
        if directory is None or os.sep in label:
            return
        with suppress(OSError):
            (directory / label).touch()
            self.ring.tell("waiting", label, None, why=_WISHED)

    def _let_go(self, keeper: Keeper) -> None:
        self._keeper = None
        self._vault.leave()
        keeper.close()

    def _name_gone(self) -> None:
        self.ring.tell("gone", self.inside or HOST, None, why="its name leads to it no more")
        self._ended()

    def _rules(self, config: Config) -> Rules:
        return config if self.inside is None else Alone(config, self.inside)

    # --- what others ask ----------------------------------------------------------------------------------------------

    def ask(self, question: Callable[[Keeper], T]) -> T:
        """Have a question answered in the keeper's thread, from any other one.

        Raises:
            NotRunning: nobody answers any more.
            BaseException: what the question raised.
        """
        answers: SimpleQueue[tuple[BaseException | None, T | None]] = SimpleQueue()
        self._loop.call(lambda: answers.put(self._answer(question)))
        while self._thread.is_alive():
            try:
                error, answer = answers.get(timeout=1.0)
            except Empty:
                continue
            if error is not None:
                raise error
            return answer  # type: ignore[return-value]
        raise NotRunning("the keeper does not run")

    def _answer(self, question: Callable[[Keeper], T]) -> tuple[BaseException | None, T | None]:
        if self._keeper is None:
            return NotRunning("the keeper does not run"), None
        try:
            return None, question(self._keeper)
        except AddrsvcError as error:
            return error, None

    def serving(self) -> None:
        """Let it be known that others can ask, too: what is left for readiness are the addresses."""
        vitals = self._vitals
        if vitals is not None:
            self._loop.call(vitals.serving)

    def reload(self) -> int:
        """Read the configuration again, and put it in force; one after the other, if several ask.

        Returns:
            The number of the event that tells it.

        Raises:
            ConfigError: it is wrong; the one before stays in force.
        """
        with self._reloading:
            is_told = self._is_ready() and reloading()  # that it is ready again would end a start that waits
            try:
                loaded = load(self._files())
                cause = self.ask(
                    lambda keeper: keeper.reconfigure(self._rules(loaded.config), sweep=loaded.config.watch.sweep)
                )
                self.loaded = loaded
                for callback in self._reloaded:
                    callback(loaded)
                return cause
            except ConfigError as error:
                problems = [str(problem) for problem in error.problems]
                self.ask(lambda keeper: self.ring.tell("reload failed", problems=problems))
                raise
            finally:
                if is_told:
                    notify("READY=1")

    def _is_ready(self) -> bool:
        return self._vitals is not None and self._vitals.is_ready

    def tell(self, event: str, netns: str, **values: object) -> None:
        """Have something told soon; nobody waits for it."""
        self._loop.call(lambda: self.ring.tell(event, netns, None, **values))

    def rules_on_disk(self) -> Rules:
        """What a reload would put in force.

        Raises:
            ConfigError: it is wrong.
        """
        return self._rules(load(self._files()).config)

    def when_reloaded(self, callback: Callable[[Loaded], object]) -> None:
        """Call back, in the thread that reloads, whenever another configuration is in force."""
        self._reloaded.append(callback)

    def reload_soon(self) -> None:
        """Reload later, in another thread, as a signal asks for it: what is wrong is told as an event."""

        def body() -> None:
            with suppress(ConfigError, NotRunning):
                self.reload()

        threading.Thread(target=body, name="reload").start()


def _take_priority(priority: int, ring: Ring) -> None:
    """Let no other process of this machine keep the calling thread from its work, if that is wanted and allowed.

    Threads that it starts have no part in that.
    """
    if not priority:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        ring.tell("refused", "", None, recipe=f"SCHED_FIFO {priority}", error=error.strerror)
