"""A callback that writes down what it hears of devices, and refuses what it is told to refuse."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from addrsvc import Linux
from addrsvc.linux import Namespace
from addrsvc.model.boot import INIT_NET
from addrsvc.model.notifier import notifier_from_errno
from addrsvc.model.structs import NetDevice, NetdevNotifierInfo, Printk, RtnlNotify, Said
from addrsvc.netlink.messages import LinkMsg, Message, RouteMsg
from addrsvc.uapi import AF_UNSPEC, RTM_DELLINK, RTN_MULTICAST, NetdevEvent
from tests.fidelity.notation import brief


class Change(TypedDict, total=False):
    """What `Namespace.link_set` can be asked for, as far as these tests do."""

    up: bool
    noarp: bool
    debug: bool
    promisc: bool
    allmulti: bool
    name: str
    mtu: int
    address: str | bytes
    broadcast: bytes
    txqlen: int
    group: int
    alias: str
    operstate: int
    linkmode: int
    addr_gen_mode: int


def of(dev: NetDevice) -> str:
    """A device by name; with its namespace, if that is not the first."""
    return dev.name if dev.net.name == INIT_NET else f"{dev.name}@{dev.net.name}"


class Ear:
    """Hears events as words, "UP lo" or "UP lo@blue", and refuses those it has an errno for."""

    def __init__(self, vetoes: Mapping[str, int] | None = None, extack: str | None = None) -> None:
        self.vetoes = dict(vetoes or {})
        self.extack = extack
        self.infos: list[NetdevNotifierInfo] = []
        self._words: list[str] = []

    def __call__(self, event: int, info: NetdevNotifierInfo) -> int:
        word = f"{NetdevEvent(event).name.removeprefix('NETDEV_')} {of(info.dev)}"
        self.infos.append(info)
        self.note(word)
        if word not in self.vetoes:
            return notifier_from_errno(0)
        info.extack = self.extack
        return notifier_from_errno(-self.vetoes[word])

    def note(self, word: str) -> None:
        self._words.append(word)

    def heard(self) -> str:
        """Everything since the last look."""
        words, self._words = self._words, []
        return ", ".join(words)


class Story(Ear):
    """An ear that also notes, in between, each message to the LINK group: L(change) and L-(change)."""

    def __init__(self, linux: Linux, vetoes: Mapping[str, int] | None = None, extack: str | None = None) -> None:
        super().__init__(vetoes, extack)
        self._linux = linux
        self._noted = 0

    def begin(self) -> None:
        """Forget what was before."""
        self._linux.effects()
        self._words.clear()
        self._noted = 0

    def note(self, word: str) -> None:
        self._catch_up(self._linux.machine.effects)
        super().note(word)

    def heard(self) -> str:
        self._linux.settle()
        self._catch_up(self._linux.effects())
        self._noted = 0
        return super().heard()

    def _catch_up(self, effects: Sequence[Said]) -> None:
        for effect in effects[self._noted :]:
            if isinstance(effect, RtnlNotify) and isinstance(effect.msg, LinkMsg) and not effect.msg.ifi_family:
                sign = "-" if effect.msg.nlmsg_type == RTM_DELLINK else ""
                self._words.append(f"L{sign}({effect.msg.ifi_change:#x})")
        self._noted = len(effects)


def listen(linux: Linux, vetoes: Mapping[str, int] | None = None, extack: str | None = None) -> Story:
    """A story on the global chain, with what it heard of the devices that exist forgotten."""
    story = Story(linux, extack=extack)
    linux.register_netdevice_notifier(story, name="story")
    story.vetoes.update(vetoes or {})
    story.begin()
    return story


def messages(linux: Linux) -> list[Message]:
    """What was said since the last look, in all namespaces."""
    return [effect.msg for effect in linux.effects() if isinstance(effect, RtnlNotify)]


def said(linux: Linux) -> str:
    """The same in short, without the multicast routes that every device but lo has."""
    news = messages(linux)
    return brief(m for m in news if not (isinstance(m, RouteMsg) and m.rtm_type == RTN_MULTICAST))


def lines(linux: Linux) -> list[tuple[str, str]]:
    """What was printed since the last look."""
    return [(effect.level, effect.text) for effect in linux.effects() if isinstance(effect, Printk)]


def link_of(net: Namespace, name: str) -> LinkMsg:
    """A device as a dump tells it."""
    (link,) = (m for m in net.dump() if isinstance(m, LinkMsg) and m.ifi_family == AF_UNSPEC and m.ifname == name)
    return link


def no_link_local(linux: Linux) -> Namespace:
    """The first namespace, whose devices to come make no link-local address of themselves."""
    linux.init_net.sysctl("net.ipv6.conf.default.addr_gen_mode", 1)
    return linux.init_net
