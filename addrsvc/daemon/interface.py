"""The control interface on the wire: Varlink, derived by asyncvarlink from the tables of `commands`.

The one method that is in no table is `Monitor`, which answers as long as there is somebody to answer.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, TypedDict

from asyncvarlink import (
    LastResult,
    TypedVarlinkErrorReply,
    VarlinkInterface,
    VarlinkInterfaceRegistry,
    varlinkmethod,
)
from asyncvarlink.serviceinterface import VarlinkServiceInterface

from addrsvc.daemon.client import INTERFACE, method_name
from addrsvc.daemon.commands import CHANGES, QUERIES, Command, Said
from addrsvc.errors import ControlError, KernelError, NotPermitted

__all__ = ["BadRequest", "Control", "KernelRefused", "News", "Newsroom", "registry"]


class KernelRefused(TypedVarlinkErrorReply, interface=INTERFACE):
    """A kernel, modelled or real, refused, with its errno and its extended-acknowledgement text."""

    class Parameters:
        """What the kernel answered."""

        errno: int
        name: str
        extack: str | None


class BadRequest(TypedVarlinkErrorReply, interface=INTERFACE):
    """A request that is no request; the text names the parameter and what it would accept."""

    class Parameters:
        """What is wrong with it."""

        text: str


class PermissionDenied(TypedVarlinkErrorReply, interface=INTERFACE):
    """Who asks may not; the text says who may, and how to become one of them."""

    class Parameters:
        """Why."""

        text: str


class HungUp(TypedVarlinkErrorReply, interface=INTERFACE):
    """A stream ended because nobody was reading it any more."""

    class Parameters:
        """Nothing."""


class News(TypedDict):
    """Some of what was said, oldest first, and how much before it a slow reader has lost."""

    news: list[Said]
    lost: int


class Newsroom(Protocol):
    """Where a stream of news comes from."""

    def __call__(self, *, replay: bool) -> AsyncIterator[News]:
        """Everything said from now on, after what was said before if `replay`; ends when the service does.

        Raises:
            ConnectionError: the reader has hung up.
        """


class Control(VarlinkInterface, name=INTERFACE):
    """Ask and change a running addrsvc.

    Queries are for everyone, unless the service keeps namespaces of a machine; changes are for root, for the user that
    the service runs as, and for those that a configuration names.  Namespaces of the model
    are called `net`, those of the running kernel `netns`.
    """

    errors = (KernelRefused, BadRequest, PermissionDenied, HungUp)

    def __init__(self, ask: Callable[[str, Mapping[str, object]], dict[str, object]], newsroom: Newsroom) -> None:
        self._ask = ask
        self._newsroom = newsroom

    @varlinkmethod(delay_generator=False, allow_foreign=True)
    async def Monitor(self, *, replay: bool = False) -> AsyncIterator[News]:
        """Tell what happens: events, callbacks that acted, messages; with `replay`, what happened lately first."""
        try:
            async for news in self._newsroom(replay=replay):
                yield news
        except NotPermitted as error:
            raise PermissionDenied(text=str(error)) from None
        except ConnectionError:
            raise HungUp() from None
        raise LastResult({"news": [], "lost": 0})


def _method(command: str, function: Command) -> Callable[..., Any]:
    def method(self: Control, **parameters: object) -> dict[str, object]:
        try:
            return self._ask(command, parameters)
        except KernelError as error:
            raise KernelRefused(errno=error.errno, name=error.name, extack=error.extack) from None
        except ControlError as error:
            raise BadRequest(text=str(error)) from None
        except NotPermitted as error:
            raise PermissionDenied(text=str(error)) from None

    signature = inspect.signature(function)
    _, *parameters = signature.parameters.values()
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(parameters=[this, *parameters])  # type: ignore[attr-defined]
    method.__name__ = method_name(command)
    method.__doc__ = function.__doc__
    return varlinkmethod(method, allow_foreign=True)


for _command, _function in {**QUERIES, **CHANGES}.items():
    setattr(Control, method_name(_command), _method(_command, _function))


def registry(*controls: VarlinkInterface) -> VarlinkInterfaceRegistry:
    """The interfaces that one connection is served: these, and that by which Varlink services describe themselves."""
    from addrsvc import __version__

    interfaces = VarlinkInterfaceRegistry()
    interfaces.register_interface(
        VarlinkServiceInterface("addrsvc", "addrsvc", __version__, "https://addrsvc.invalid/", interfaces)
    )
    for control in controls:
        interfaces.register_interface(control)
    return interfaces
