"""The Internet checksum (RFC 1071): include/net/checksum.h, lib/checksum.c.

Sums are plain integers that grow as they like until they are folded into 16 bits.
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["completed", "csum_fold", "csum_partial", "csum_pseudo", "internet_checksum"]

_MODULUS: Final = 0xFFFF


def csum_partial(data: bytes | bytearray | memoryview) -> int:
    """The ones' complement sum of 16-bit words in network order, an odd last byte being padded with a zero.

    Kernel: lib/checksum.c, csum_partial().
    Differs: the sum is not folded into 32 bits.
    """
    if len(data) & 1:
        return csum_partial(bytes(data) + b"\0")
    total = int.from_bytes(data)
    return total % _MODULUS or (_MODULUS if total else 0)


def csum_fold(total: int) -> int:
    """A sum as the checksum that makes it right.

    Kernel: include/asm-generic/checksum.h, csum_fold().
    """
    folded = total % _MODULUS or (_MODULUS if total else 0)
    return ~folded & 0xFFFF


def csum_pseudo(saddr: bytes, daddr: bytes, length: int, protocol: int) -> int:
    """The sum of the pseudo header that TCP and UDP include.

    Kernel: include/net/checksum.h, csum_tcpudp_nofold(), csum_ipv6_magic().
    """
    return csum_partial(saddr + daddr) + (length >> 16) + (length & 0xFFFF) + protocol


def completed(segment: bytes, offset: int, pseudo: int) -> bytes:
    """A segment of UDP or TCP with its checksum `offset` bytes behind its beginning.  Ours.

    Args:
        pseudo: the sum of the pseudo header.
    """
    blank = segment[:offset] + bytes(2) + segment[offset + 2 :]
    total = csum_fold(pseudo + csum_partial(blank)) or _MODULUS
    return blank[:offset] + total.to_bytes(2) + blank[offset + 2 :]


def internet_checksum(parts: Iterable[bytes]) -> int:
    """The checksum over several pieces, all but the last of even length.  Ours."""
    return csum_fold(sum(map(csum_partial, parts)))
