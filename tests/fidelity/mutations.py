"""Requests made wrong, at random: a table of mutations, on the message while it has parts and on its bytes."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeAlias

from tests.fidelity.wire import NLATTR, Message, attributes, nest, nla

__all__ = ["MUTATIONS", "mutated"]

Mutation: TypeAlias = Callable[[Random, Message], "Message | bytes"]


def _attr_parts(attr: bytes) -> tuple[int, int, bytes]:
    length, nla_type = NLATTR.unpack_from(attr)
    return length, nla_type, attr[NLATTR.size : max(length, NLATTR.size)]


def _change_one(rng: Random, message: Message, change: Callable[[Random, bytes], bytes]) -> Message:
    if not message.attrs:
        return message.but(attrs=(change(rng, nla(rng.randrange(1, 12), rng.randbytes(4))),))
    at = rng.randrange(len(message.attrs))
    return message.but(attrs=(*message.attrs[:at], change(rng, message.attrs[at]), *message.attrs[at + 1 :]))


# --- on attributes ----------------------------------------------------------------------------------------------------


def _resize(rng: Random, attr: bytes) -> bytes:
    _, nla_type, payload = _attr_parts(attr)
    wanted = rng.choice(
        (0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 20, 32, 33, max(0, len(payload) - 1), len(payload) + 1, 300)
    )
    return nla(nla_type, payload[:wanted].ljust(wanted, rng.choice((b"\0", b"\1", b"x", b"\xff"))))


def _lying(rng: Random, attr: bytes) -> bytes:
    length, nla_type, payload = _attr_parts(attr)
    return nla(
        nla_type, payload, length=rng.choice((0, 1, 3, 4, length - 1, length + 1, length + 4, length + 64, 0xFFFF))
    )


def _retype(rng: Random, attr: bytes) -> bytes:
    _, nla_type, payload = _attr_parts(attr)
    return nla(rng.choice((0, nla_type + 1, nla_type - 1, rng.randrange(1, 80), rng.randrange(0x4000))), payload)


def _nested_bit(rng: Random, attr: bytes) -> bytes:
    _, nla_type, payload = _attr_parts(attr)
    return nla(nla_type ^ rng.choice((0x8000, 0x8000, 0x4000, 0xC000)), payload)


def _value(rng: Random, attr: bytes) -> bytes:
    _, nla_type, payload = _attr_parts(attr)
    raw = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if raw:
            raw[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return nla(nla_type, bytes(raw))


def _unterminated(rng: Random, attr: bytes) -> bytes:
    _, nla_type, payload = _attr_parts(attr)
    return nla(nla_type, rng.choice((payload.rstrip(b"\0"), payload + b"\0", b"a\0" + payload, b"\xff\xfe" + payload)))


def _within(rng: Random, attr: bytes) -> bytes:
    """Something wrong inside a nest."""
    _, nla_type, payload = _attr_parts(attr)
    inner = [payload[start - 4 : end] for _, start, end in attributes(payload, 0, len(payload))]
    if not inner:
        return _resize(rng, attr)
    at = rng.randrange(len(inner))
    change = rng.choice((_resize, _lying, _retype, _nested_bit, _value))
    inner[at] = change(rng, inner[at])
    raw = b"".join(part.ljust(len(part) + 3 & ~3, b"\0") for part in inner)
    return nla(nla_type, raw + rng.choice((b"", b"", b"\0", b"\0\0\0", bytes(4), bytes(8))))


def _wrapped(rng: Random, attr: bytes) -> bytes:
    _, nla_type, _payload = _attr_parts(attr)
    return nest(nla_type & 0x3FFF, attr, flagged=rng.random() < 0.5)


def _on_an_attribute(change: Callable[[Random, bytes], bytes]) -> Mutation:
    return lambda rng, message: _change_one(rng, message, change)


def _duplicate(rng: Random, message: Message) -> Message:
    if not message.attrs:
        return message
    chosen = rng.choice(message.attrs)
    return message.but(attrs=(*message.attrs, rng.choice((chosen, _value(rng, chosen), _resize(rng, chosen)))))


def _drop(rng: Random, message: Message) -> Message:
    if not message.attrs:
        return message
    at = rng.randrange(len(message.attrs))
    return message.but(attrs=message.attrs[:at] + message.attrs[at + 1 :])


def _foreign(rng: Random, message: Message) -> Message:
    """An attribute that does not belong there."""
    nla_type = rng.choice((0, rng.randrange(1, 80), rng.randrange(80, 0x4000), 0x3FFF))
    alien = nla(nla_type | rng.choice((0, 0, 0x8000, 0x4000)), rng.randbytes(rng.choice((0, 1, 2, 4, 4, 8, 16))))
    return message.but(attrs=(*message.attrs, alien) if rng.random() < 0.5 else (alien, *message.attrs))


# --- on the message ---------------------------------------------------------------------------------------------------


def _short_header(rng: Random, message: Message) -> Message:
    head = message.family_header
    return message.but(
        family_header=head[: rng.randrange(len(head) + 1)], attrs=message.attrs if rng.random() < 0.3 else ()
    )


def _garbage_header(rng: Random, message: Message) -> Message:
    head = bytearray(message.family_header)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if len(head) > 1:
            head[rng.randrange(1, len(head))] = rng.choice((0, 1, 0x40, 0xFF, rng.randrange(256)))
    return message.but(family_header=bytes(head))


def _another_family(rng: Random, message: Message) -> Message:
    return message.but(family_header=bytes((rng.randrange(256),)) + message.family_header[1:])


def _lying_length(rng: Random, message: Message) -> Message:
    true = len(bytes(message))
    return message.but(
        length=rng.choice((0, 1, 15, 16, 17, 19, 20, true - 1, true - 4, true + 1, true + 4, 2**31, 2**32 - 1))
    )


def _cut(rng: Random, message: Message) -> bytes:
    """A datagram that ends too early."""
    raw = bytes(message)
    return raw[: rng.choice((0, 1, 15, 16, 17, 20, rng.randrange(len(raw) + 1), len(raw) - 1))]


def _cut_and_consistent(rng: Random, message: Message) -> Message:
    """The message ends too early, and says so: the last attribute reaches beyond it."""
    return message.but(length=rng.randrange(16, len(bytes(message)) + 1))


def _trailing(rng: Random, message: Message) -> bytes:
    """Bytes behind the message that are none."""
    raw = bytes(message)
    return raw.ljust(len(raw) + 3 & ~3, b"\0") + rng.choice(
        (bytes(1), bytes(3), bytes(15), bytes(16), bytes(128), b"\xff" * 20, rng.randbytes(40))
    )


def _leftover(rng: Random, message: Message) -> Message:
    """Bytes behind the attributes that are none, within the message."""
    return message.but(
        attrs=(*message.attrs, rng.choice((b"\0", b"\0\0\0", bytes(4), b"\3\0\1\0", b"\xff" * 4, bytes(12))))
    )


def _flags(rng: Random, message: Message) -> Message:
    return message.but(
        flags=rng.choice((rng.getrandbits(16), message.flags ^ 1 << rng.randrange(12), message.flags | 1))
    )


def _another_type(rng: Random, message: Message) -> Message:
    return message.but(nlmsg_type=rng.choice((rng.randrange(16, 124), message.nlmsg_type ^ 1, message.nlmsg_type ^ 2)))


def _mutated_bytes(rng: Random, message: Message) -> bytes:
    raw = bytearray(bytes(message))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        raw[rng.randrange(min(len(raw), 16) if rng.random() < 0.1 else len(raw))] = rng.choice(
            (0, 1, 2, 4, 0x10, 0x7F, 0x80, 0xFF, rng.randrange(256))
        )
    return bytes(raw)


def _shuffled_bytes(rng: Random, message: Message) -> bytes:
    """A piece moved: the header stays."""
    raw = bytes(message)
    if len(raw) < 24:
        return raw
    start = rng.randrange(16, len(raw))
    end = rng.randrange(start, len(raw) + 1)
    at = rng.randrange(16, len(raw) + 1)
    return (raw[:at] + raw[start:end] + raw[at:])[: len(raw) + rng.choice((0, end - start))]


# One row per way to be wrong.
MUTATIONS: Final[Mapping[str, tuple[float, Mutation]]] = {
    "attribute of another size": (10, _on_an_attribute(_resize)),
    "nla_len lies": (6, _on_an_attribute(_lying)),
    "another attribute type": (5, _on_an_attribute(_retype)),
    "nested or byte order bit": (4, _on_an_attribute(_nested_bit)),
    "attribute value mutated": (7, _on_an_attribute(_value)),
    "string ends otherwise": (3, _on_an_attribute(_unterminated)),
    "wrong inside a nest": (5, _on_an_attribute(_within)),
    "attribute wrapped": (1, _on_an_attribute(_wrapped)),
    "attribute twice": (5, _duplicate),
    "attribute missing": (3, _drop),
    "foreign attribute": (6, _foreign),
    "short family header": (4, _short_header),
    "garbage in the family header": (5, _garbage_header),
    "another family": (5, _another_family),
    "nlmsg_len lies": (5, _lying_length),
    "datagram cut": (3, _cut),
    "message cut": (4, _cut_and_consistent),
    "trailing garbage": (3, _trailing),
    "bytes left over": (3, _leftover),
    "other flags": (5, _flags),
    "another message type": (4, _another_type),
    "bytes mutated": (6, _mutated_bytes),
    "bytes moved": (2, _shuffled_bytes),
}


def mutated(rng: Random, message: Message) -> tuple[str, bytes]:
    """What was done to the message, and what it is now."""
    (name,) = rng.choices(list(MUTATIONS), [weight for weight, _ in MUTATIONS.values()])
    return name, bytes(MUTATIONS[name][1](rng, message))
