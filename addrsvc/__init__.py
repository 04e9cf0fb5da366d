"""addrsvc: Linux's netdevice notifiers, loopback device and IPv6 addrconf as a model, and a service that mirrors it.

``from addrsvc import Linux`` boots a modelled kernel; nothing else is imported before it is asked for.
"""

TYPE_CHECKING = False  # what typing's means to a type checker, without the price of importing it
__version__ = "0.1.0"
__all__ = ["Address", "Linux", "Namespace", "__version__"]

if TYPE_CHECKING:
    from addrsvc.linux import Address, Linux, Namespace


def __getattr__(name: str) -> object:
    if name in ("Address", "Linux", "Namespace"):
        from addrsvc import linux

        return getattr(linux, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
