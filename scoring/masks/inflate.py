"""Opening files nobody vouches for, and taking exactly the declared number of bytes out of them.

Nothing here blocks (a FIFO is refused before it is opened), follows a link, or expands a compressed file
beyond what its header declares.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal, cast

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode, refusal, warning

_fast_zlib: ModuleType
_next_zlib: ModuleType
try:
    from isal import isal_zlib as _fast_zlib
except ImportError:  # no wheel for this machine: the standard library gives the same bytes, slower
    _fast_zlib = zlib
_reader: Any = None
try:
    from zlib_ng import zlib_ng as _next_zlib
except ImportError:
    _next_zlib = zlib
else:
    _reader = getattr(_next_zlib, "_GzipReader", None)  # what its public file object reads with, into our buffer

Wrapping = Literal["raw", "gzip", "zlib"]

_INPUT_BYTES = 1 << 16
_OUTPUT_BYTES = 1 << 18  # fits the second-level cache, so the copy into the target costs little
_WINDOW_BITS = {"gzip": 31, "zlib": 15}
_CORRUPT: tuple[type[Exception], ...] = (zlib.error, cast("type[Exception]", _fast_zlib.error))
_UNUSUAL: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,  # a header with a name that is longer than the input buffer
    zlib.error,
    cast("type[Exception]", _next_zlib.error),
)
MAX_DEFLATE_RATIO = 1032
"""No deflate stream expands further than this (RFC 1951: a 258-byte match costs at least two bits)."""

_KINDS = (
    (stat.S_ISLNK, MaskCode.FILE_SYMLINK, "a symbolic link"),
    (stat.S_ISFIFO, MaskCode.FILE_FIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, MaskCode.FILE_SOCKET, "a socket"),
    (stat.S_ISDIR, MaskCode.FILE_DIRECTORY, "a folder"),
    (stat.S_ISCHR, MaskCode.FILE_DEVICE, "a character device"),
    (stat.S_ISBLK, MaskCode.FILE_DEVICE, "a block device"),
)


@dataclass(frozen=True)
class ReadLimits:
    """How much of an untrusted file is read at most.

    Parameters
    ----------
    max_file_bytes : int
        Largest file on disk.
    max_voxels : int
        Largest volume; it is also the most memory a mask can take (one byte per voxel, two above label 255).
    max_data_bytes : int
        Largest expanded voxel data, whatever its type.
    max_header_bytes : int
        Largest header.
    max_extension_bytes : int
        Most bytes that are skipped between a header and the voxels.
    follow_links : bool
        Whether symbolic links are followed. Only for files of the organizer's own, never for a submission's.
    """

    max_file_bytes: int = 4 << 30
    max_voxels: int = 2_000_000_000
    max_data_bytes: int = 8 << 30
    max_header_bytes: int = 1 << 20
    max_extension_bytes: int = 256 << 20
    follow_links: bool = False


DEFAULT_LIMITS = ReadLimits()
OWN_FILES = ReadLimits(follow_links=True)
"""For the organizer's references, which data-management tools often keep as links."""


def _refuse_special(path: Path, mode: int) -> None:
    for is_kind, code, kind in _KINDS:
        if is_kind(mode):
            raise refusal(code, path, f"is {kind}, not a regular file", "write the mask itself as a regular file there")
    if not stat.S_ISREG(mode):
        raise refusal(MaskCode.FILE_DEVICE, path, "is not a regular file", "write the mask as a regular file there")


@contextmanager
def open_regular(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading, without blocking and without following links.

    Yields
    ------
    (file, size) : tuple of BinaryIO, int
        Unbuffered binary file and its size in bytes.

    Raises
    ------
    MaskError
        When the path is missing, empty, too large, not a regular file, or changes while it is opened.
    """
    try:
        seen = path.stat() if limits.follow_links else path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise refusal(
            MaskCode.FILE_MISSING, path, "there is no such file", "write the mask under exactly this name"
        ) from None
    except (OSError, ValueError) as error:
        raise refusal(
            MaskCode.FILE_UNREADABLE, path, f"cannot be looked up ({error})", "give a readable path"
        ) from error
    _refuse_special(path, seen.st_mode)
    # The flags below do not exist on Windows, where the checks before and after opening do the work.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    if not limits.follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise refusal(
            MaskCode.FILE_UNREADABLE,
            path,
            f"cannot be opened ({error.strerror or error})",
            "make the file readable for every user (chmod a+r)",
        ) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        opened = os.fstat(descriptor)
        _refuse_special(path, opened.st_mode)
        if (opened.st_dev, opened.st_ino) != (seen.st_dev, seen.st_ino):
            raise refusal(MaskCode.FILE_REPLACED, path, "was replaced while it was opened", "leave the file alone")
        if opened.st_size == 0:
            raise refusal(MaskCode.FILE_EMPTY, path, "has 0 bytes", "write the mask again; the disk may have been full")
        if opened.st_size > limits.max_file_bytes:
            raise refusal(
                MaskCode.FILE_TOO_LARGE,
                path,
                f"has {opened.st_size} bytes, the limit is {limits.max_file_bytes}",
                "save an 8-bit label map with compression (.nii.gz)",
            )
        yield file, opened.st_size


class ByteStream:
    """Expanded bytes of an open file, in order, never more than asked for.

    Parameters
    ----------
    file : BinaryIO or ByteStream
        Open file, positioned where the (wrapped) bytes start, or the stream they come out of (compressed voxels in
        a file that was compressed as a whole).
    path : Path
        Name for findings.
    wrapping : {"raw", "gzip", "zlib"}
        How the bytes are stored. Members of a gzip file that follow each other are read as one stream.
    """

    def __init__(self, file: BinaryIO | ByteStream, path: Path, wrapping: Wrapping) -> None:
        self._file = file
        self._path = path
        self._wrapping = wrapping
        self._returned = b""
        self._pending = b""
        self._inflater: Any = None if wrapping == "raw" else self._new_inflater()
        self._quick: Any = None
        self._start = self._inflated = 0
        if wrapping == "gzip" and _reader is not None and not isinstance(file, ByteStream):
            self._start = file.tell()
            self._quick = _reader(file, _INPUT_BYTES)
        self._ended = False
        self.position = 0
        """How many bytes were taken out so far."""
        self._findings: list[Finding] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was odd but usable so far, in the streams below, too."""
        below = self._file.findings if isinstance(self._file, ByteStream) else ()
        return (*below, *self._findings)

    def _new_inflater(self) -> Any:
        return _fast_zlib.decompressobj(_WINDOW_BITS[self._wrapping])

    def at_most(self, file_bytes: int) -> int:
        """Return how many more bytes can come out of a file of so many bytes, by the largest ratio of the format."""
        if isinstance(self._file, ByteStream):
            stored = self._file.at_most(file_bytes)
        else:
            stored = file_bytes - (self._file.tell() if self._wrapping == "raw" else 0)
        return len(self._returned) + stored * (1 if self._wrapping == "raw" else MAX_DEFLATE_RATIO)

    def give_back(self, piece: bytes) -> None:
        """Put bytes back, to be read again next."""
        self._returned = piece + self._returned
        self.position -= len(piece)

    def readinto(self, target: memoryview) -> int:
        """Fill a byte buffer; return how many bytes there were (fewer only at the end of the stream)."""
        filled = min(len(target), len(self._returned))
        target[:filled] = self._returned[:filled]
        self._returned = self._returned[filled:]
        while filled < len(target):
            if self._wrapping == "raw":
                count = self._file.readinto(target[filled:])  # type: ignore[union-attr]
            elif self._quick is not None:
                count = self._inflate_into(target[filled:])
                if self._quick is None:
                    continue
            else:
                piece = self._inflate(min(_OUTPUT_BYTES, len(target) - filled))
                count = len(piece)
                target[filled : filled + count] = piece
            if not count:
                break
            filled += count
        self.position += filled
        return filled

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def skip(self, size: int) -> int:
        """Drop up to ``size`` bytes, a piece at a time; return how many there were."""
        buffer = memoryview(bytearray(min(size, _OUTPUT_BYTES)))
        dropped = 0
        while dropped < size:
            count = self.readinto(buffer[: size - dropped])
            if not count:
                break
            dropped += count
        return dropped

    def skip_to_last(self, size: int) -> bool:
        """Go to where the last ``size`` bytes start; return whether that lies ahead, in a file stored as it is."""
        if self._wrapping != "raw" or isinstance(self._file, ByteStream):
            return False
        start = self._file.seek(0, os.SEEK_END) - size
        if start < self.position:
            return False
        self._file.seek(start)
        self._returned, self.position = b"", start
        return True

    def _inflate_into(self, target: memoryview) -> int:
        """Inflate into a buffer, without bytes objects in between.

        Where anything is out of the ordinary, this file is begun again the careful way, which alone judges it.
        """
        try:
            count: int = self._quick.readinto(target)
        except _UNUSUAL:
            self._quick = None
            cast("BinaryIO", self._file).seek(self._start)
            given = self._inflated
            while given and (piece := self._inflate(min(_OUTPUT_BYTES, given))):
                given -= len(piece)
            return 0
        self._inflated += count
        return count

    def _inflate(self, size: int) -> bytes:
        while not self._ended:
            try:
                piece: bytes = self._inflater.decompress(self._pending, size)
            except _CORRUPT as error:
                raise refusal(
                    MaskCode.DATA_CORRUPT,
                    self._path,
                    f"the compressed data are damaged ({error})",
                    "write or upload the file again and compare checksums",
                ) from error
            self._pending = self._inflater.unconsumed_tail
            if piece:
                return piece
            if self._inflater.eof:
                self._next_member()
            elif not self._pending:
                self._pending = self._file.read(_INPUT_BYTES)
                if not self._pending:
                    raise refusal(
                        MaskCode.DATA_TRUNCATED,
                        self._path,
                        "the compressed data stop in the middle",
                        "write or upload the file again; it was cut off",
                    )
        return b""

    def _next_member(self) -> None:
        """At the end of a member: go on with the next one, or note what else follows."""
        rest: bytes = self._inflater.unused_data or self._file.read(_INPUT_BYTES)
        while rest and not rest.strip(b"\0"):  # gzip allows zero padding (tape blocks)
            rest = self._file.read(_INPUT_BYTES)
        rest = rest.lstrip(b"\0")
        if self._wrapping == "gzip" and rest[:2] == b"\x1f\x8b":
            self._inflater, self._pending = self._new_inflater(), rest
            return
        self._ended = True
        if rest:
            self._findings.append(
                warning(
                    MaskCode.DATA_TRAILING,
                    self._path,
                    f"bytes that belong to nothing follow the compressed data (first: {rest[:8].hex(' ')})",
                    "write the file again; what follows is ignored",
                )
            )

    def expect_end(self, volume_bytes: int) -> None:
        """Check that little or nothing follows the voxels, and verify the checksum of compressed ones.

        Parameters
        ----------
        volume_bytes : int
            Size of the volume. What follows is ignored with a warning, unless it could be a volume of this size.

        Raises
        ------
        MaskError
            When another volume could follow, so that the header is not to be believed, or when the compressed data
            are cut off or damaged.
        """
        extra = self.skip(volume_bytes)
        if extra >= volume_bytes:
            raise refusal(
                MaskCode.DATA_BEYOND_VOLUME,
                self._path,
                f"holds more bytes than its header declares, {volume_bytes} or more; reading stopped there",
                "write one volume per file, with a header that states its true shape and type",
            )
        if extra:
            self._findings.append(
                warning(
                    MaskCode.DATA_TRAILING,
                    self._path,
                    f"{extra} bytes follow the {volume_bytes} bytes of voxels that the header declares",
                    "write the file again, with its true shape; what follows is ignored",
                )
            )
        elif isinstance(self._file, ByteStream) and self._wrapping != "raw":
            self._file.expect_end(volume_bytes)
