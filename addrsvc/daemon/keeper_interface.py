"""The interface of a service that keeps namespaces, on the wire: Varlink, derived from the table of `orders`.

Two methods are in no table, since they answer when something happens: `Monitor`, as long as there is somebody to
answer, and `Wait`, once.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any, Protocol, TypedDict, get_args, get_origin, get_type_hints

from asyncvarlink import LastResult, TypedVarlinkErrorReply, VarlinkErrorReply, VarlinkInterface, varlinkmethod

from addrsvc.daemon.client import KEEPER, method_name
from addrsvc.daemon.orders import ORDERS, Order
from addrsvc.daemon.reading import Told
from addrsvc.errors import AddrsvcError, ConfigError, ControlError, KernelError, NotPermitted

__all__ = ["Desk", "KeeperControl", "TimeIsUp"]


class KernelRefused(TypedVarlinkErrorReply, interface=KEEPER):
    """A kernel refused, with its errno and its extended-acknowledgement text."""

    class Parameters:
        """What the kernel answered."""

        errno: int
        name: str
        extack: str | None


class BadRequest(TypedVarlinkErrorReply, interface=KEEPER):
    """A request that is no request; the text names the parameter and what it would accept."""

    class Parameters:
        """What is wrong with it."""

        text: str


class BadConfiguration(TypedVarlinkErrorReply, interface=KEEPER):
    """The configuration is wrong, and the one before stays in force; these are all its problems, of all files."""

    class Parameters:
        """What is wrong with it: each problem with file, line, key and text."""

        problems: list[dict[str, Any]]


class PermissionDenied(TypedVarlinkErrorReply, interface=KEEPER):
    """Who asks may not; the text says who may, and how to become one of them."""

    class Parameters:
        """Why."""

        text: str


class TimedOut(TypedVarlinkErrorReply, interface=KEEPER):
    """What was waited for has not come true in time; the text says what is in its way."""

    class Parameters:
        """Why."""

        text: str


class Unavailable(TypedVarlinkErrorReply, interface=KEEPER):
    """The service is about to end."""

    class Parameters:
        """Why."""

        text: str


class HungUp(TypedVarlinkErrorReply, interface=KEEPER):
    """Nobody was reading any more."""

    class Parameters:
        """Nothing."""


class TimeIsUp(AddrsvcError):
    """What was waited for has not come true; the text says why."""


class Held(TypedDict):
    """What was waited for holds.  The cursor is from when that was seen."""

    cursor: str


class Desk(Protocol):
    """What answers one client."""

    def ask(self, name: str, parameters: Mapping[str, object]) -> Awaitable[Mapping[str, object]]:
        """Have an order carried out that has one answer."""

    def stream(self, name: str, parameters: Mapping[str, object]) -> AsyncIterator[Mapping[str, object]]:
        """Have one carried out that has several."""

    def monitor(self, *, cursor: str | None, replay: bool, netns: list[str], level: str | None) -> AsyncIterator[Told]:
        """What happens, until the service ends.

        Raises:
            ConnectionError: the reader has hung up.
        """

    def wait(self, *, condition: str, seconds: float | None) -> Awaitable[Held]:
        """Come back when a condition holds.

        Raises:
            ConnectionError: the reader has hung up.
            TimeIsUp: it does not hold in time.
        """


class KeeperControl(VarlinkInterface, name=KEEPER):
    """Ask and command a service that keeps the loopback addresses of network namespaces.

    Reading is for the group that the configuration names, or that the socket belongs to; changes are for root and for
    the users that the configuration names.
    """

    errors = (KernelRefused, BadRequest, BadConfiguration, PermissionDenied, TimedOut, Unavailable, HungUp)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @varlinkmethod(delay_generator=False, allow_foreign=True)
    async def Monitor(
        self,
        *,
        cursor: str | None = None,
        replay: bool = False,
        netns: list[str] | None = None,
        level: str | None = None,
    ) -> AsyncIterator[Told]:
        """Tell what happens from a cursor on, or from now on; with `replay`, from the oldest that is remembered."""
        told = Told(events=[], cursor="", lost=0, restarted=False)
        try:
            async for told in self._desk.monitor(cursor=cursor, replay=replay, netns=netns or [], level=level):
                yield told
        except (AddrsvcError, ConnectionError) as error:
            raise _reply(error) from None
        raise LastResult(told | {"events": [], "lost": 0, "restarted": False})

    @varlinkmethod
    async def Wait(self, *, condition: str, seconds: float | None = None) -> Held:
        """Answer when a condition holds, such as ``::1 on lo in blue``, or when so many seconds are over."""
        try:
            return await self._desk.wait(condition=condition, seconds=seconds)
        except (AddrsvcError, ConnectionError) as error:
            raise _reply(error) from None


def _reply(error: Exception) -> VarlinkErrorReply:
    """An error for the wire."""
    match error:
        case KernelError():
            return KernelRefused(errno=error.errno, name=error.name, extack=error.extack)
        case ConfigError():
            return BadConfiguration(problems=[problem._asdict() for problem in error.problems])
        case ControlError():
            return BadRequest(text=str(error))
        case NotPermitted():
            return PermissionDenied(text=str(error))
        case TimeIsUp():
            return TimedOut(text=str(error))
        case ConnectionError():
            return HungUp()
    return Unavailable(text=str(error))


def _single(name: str) -> Any:  # noqa: ANN401 - asyncvarlink takes it by its signature, which is put on it
    async def method(self: KeeperControl, **parameters: object) -> Mapping[str, object]:
        try:
            return await self._desk.ask(name, parameters)
        except AddrsvcError as error:
            raise _reply(error) from None

    return method


def _several(name: str) -> Any:  # noqa: ANN401
    async def method(self: KeeperControl, **parameters: object) -> AsyncIterator[Mapping[str, object]]:
        try:
            async for answer in self._desk.stream(name, parameters):
                yield answer
        except AddrsvcError as error:
            raise _reply(error) from None

    return method


def _method(name: str, order: Order) -> Any:  # noqa: ANN401
    signature = inspect.signature(order.run)
    answer = get_type_hints(order.run)["return"]
    is_stream = get_origin(answer) is Iterator
    method = _several(name) if is_stream else _single(name)
    _, *parameters = signature.parameters.values()
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    returned = AsyncIterator[get_args(answer)[0]] if is_stream else answer  # type: ignore[misc]
    method.__signature__ = signature.replace(parameters=[this, *parameters], return_annotation=returned)
    method.__name__ = method_name(name)
    method.__qualname__ = f"{KeeperControl.__name__}.{method.__name__}"
    method.__doc__ = order.run.__doc__
    return varlinkmethod(method, allow_foreign=True)


for _name, _order in ORDERS.items():
    setattr(KeeperControl, method_name(_name), _method(_name, _order))
