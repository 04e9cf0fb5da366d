"""Packets in files: pcap and pcapng are read, pcapng is written.  The only file that knows dpkt."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO, Final

import dpkt
from dpkt import pcapng

from addrsvc.errors import ControlError
from addrsvc.uapi import PACKET_OUTGOING

__all__ = ["PcapWriter", "frames_of", "is_capture", "read_capture"]

_SNAPLEN: Final = 1 << 18
_MAGICS: Final = frozenset(
    bytes.fromhex(magic) for magic in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a")
)
_DLT_EN10MB: Final = 1
_EPB_FLAGS: Final = 2
_INBOUND, _OUTBOUND = 1, 2


def is_capture(data: bytes) -> bool:
    """Whether these are the bytes of a pcap or pcapng file."""
    return data[:4] in _MAGICS


def read_capture(data: bytes, name: str) -> Iterator[bytes]:
    """The frames of a pcap or pcapng file, in order.

    Raises:
        ControlError: it is no such file, or of another link layer than lo's, which is Ethernet's.
    """
    try:
        reader = dpkt.pcap.UniversalReader(BytesIO(data))
        if reader.datalink() != _DLT_EN10MB:
            raise ControlError(f"{name}: its link type is {reader.datalink()}, not {_DLT_EN10MB} (Ethernet)")
        for _, frame in reader:
            yield bytes(frame)
    except (dpkt.Error, StructError, ValueError, IndexError, EOFError) as error:
        if isinstance(error, ControlError):
            raise
        raise ControlError(f"{name}: no pcap or pcapng file: {error}") from None


def frames_of(source: str) -> Iterator[bytes]:
    """Frames from where a user says: hexadecimal, a file (pcap, pcapng, or lines of hexadecimal), or - for its like.

    Raises:
        ControlError: there is none, or it is nothing of the kind.
    """
    if source != "-" and not Path(source).exists():
        yield _from_hex(source, source)
        return
    data, name = _content(source)
    if is_capture(data):
        yield from read_capture(data, name)
        return
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        if line.strip():
            yield _from_hex(line, f"{name}:{number}")


def _content(source: str) -> tuple[bytes, str]:
    try:
        return (sys.stdin.buffer.read(), "standard input") if source == "-" else (Path(source).read_bytes(), source)
    except OSError as error:
        raise ControlError(f"{source}: {error.strerror}") from None


def _from_hex(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        raise ControlError(f"{shown}: neither a file nor a frame in hexadecimal") from None


class PcapWriter:
    """Writes frames into a pcapng file, each at once.

    Args:
        file: where they go.
        dev: the device that they passed.
    """

    def __init__(self, file: BinaryIO, dev: str) -> None:
        self._file = file
        file.write(bytes(pcapng.SectionHeaderBlockLE()))
        options = [
            pcapng.PcapngOptionLE(code=pcapng.PCAPNG_OPT_IF_NAME, data=dev.encode("utf-8", "surrogateescape")),
            pcapng.PcapngOptionLE(code=pcapng.PCAPNG_OPT_ENDOFOPT),
        ]
        interface = pcapng.InterfaceDescriptionBlockLE(snaplen=_SNAPLEN, linktype=_DLT_EN10MB, opts=options)
        file.write(bytes(interface))
        file.flush()

    @classmethod
    @contextmanager
    def open(cls, path: Path, dev: str) -> Iterator["PcapWriter"]:
        """Write into a file of this name while the block lasts.

        Raises:
            ControlError: it cannot be written.
        """
        try:
            with path.open("wb") as file:
                yield cls(file, dev)
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror}") from None

    def write(self, frame: bytes, seconds: float, *, outgoing: bool) -> None:
        """Write one frame, with the time at which it was seen and the direction it had."""
        micros = round(seconds * 1_000_000)
        direction = (_OUTBOUND if outgoing else _INBOUND).to_bytes(4, "little")
        options = [
            pcapng.PcapngOptionLE(code=_EPB_FLAGS, data=direction),
            pcapng.PcapngOptionLE(code=pcapng.PCAPNG_OPT_ENDOFOPT),
        ]
        block = pcapng.EnhancedPacketBlockLE(
            ts_high=micros >> 32, ts_low=micros & 0xFFFFFFFF, pkt_data=frame, opts=options
        )
        self._file.write(bytes(block))
        self._file.flush()

    def write_row(self, row: object, *, received_only: bool) -> bool:
        """Write a packet as the service tells it; whether it was wanted."""
        assert isinstance(row, dict)
        outgoing = row["pkttype"] == PACKET_OUTGOING
        if outgoing and received_only:
            return False
        self.write(bytes.fromhex(row["data"]), row["seconds"], outgoing=outgoing)
        return True
