"""Compressed streams of a stranger, read in bounded pieces: gzip of many members, zstd of many frames.

Layers that can be read in places (eStargz, zstd:chunked) are many small gzip members, or zstd frames with others
between them that hold no data; tools that compress on several cores write such files too.
"""

from __future__ import annotations

import io
import struct
from typing import IO, Any, cast

_WINDOW = 1 << 27
_GZIP = b"\x1f\x8b"
_ZSTD = 0xFD2FB528
_ZSTD_SKIPPABLE = 0x184D2A50
"""The first of sixteen numbers (RFC 8878, section 3.1.2)."""
ERRORS_FROM = ("zstandard", "igzip_lib", "isal")
"""Where the errors of damaged streams come from, besides the standard library."""


class _Peeked(io.RawIOBase):
    """A stream whose first bytes were looked at."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.head = b""
        while len(self.head) < 4 and (more := stream.read(4 - len(self.head))):
            self.head += more
        self._left = self.head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        data, self._left = (self._left[:size], self._left[size:]) if self._left else (self._stream.read(size), b"")
        buffer[: len(data)] = data
        return len(data)


def unpacked(stream: Any) -> Any:
    """Return a reader of what a stream holds, unpacked if it is compressed; its content decides, not its name.

    A truncated zstd stream ends early without an error: compare the hash.
    """
    peeked = _Peeked(stream)
    if peeked.head[:2] == _GZIP:
        return _gunzip(peeked)
    magic = struct.unpack("<I", peeked.head)[0] if len(peeked.head) == 4 else 0
    if magic == _ZSTD or magic & ~0xF == _ZSTD_SKIPPABLE:
        import zstandard

        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return unpacker.stream_reader(cast("IO[bytes]", peeked), read_across_frames=True)
    return peeked


def _gunzip(file: _Peeked) -> Any:
    """Open gzip for reading; an image is read whole twice, and isal takes a fraction of the time."""
    opener: Any
    try:
        from isal import igzip

        opener = igzip.IGzipFile
    except ImportError:  # no wheel for this machine
        import gzip

        opener = gzip.GzipFile
    return opener(fileobj=file)
