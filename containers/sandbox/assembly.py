"""Programs of a few system calls for Linux on x86-64, the only platform a submission may have.

What an engine keeps of its promises is asked from inside a container, and a container of ours holds no shell and no
library: its program is a file of less than four kilobytes, written here call by call.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_BASE = 0x400000
_HEAD = 64 + 56
_DATA = 0x1000
"""Where constants begin in the file; code lies before them."""
_ROOM = 0x3000
"""Where memory of the program's own begins, from the base on."""
_REGISTERS = ("bf", "be", "ba", "ba", "b8", "b9")
"""``mov`` of a constant into rdi, rsi, rdx, r10, r8, r9, behind the prefix."""
_LOADS = ("483c25", "483425", "481425", "4c1425", "4c0425", "4c0c25")
"""``mov`` from memory into the same: the prefix, and what follows the operation 8b."""


@dataclass(frozen=True)
class At:
    """The word at an address, as an argument of a call."""

    address: int


@dataclass
class Assembly:
    """A program that is being written.

    Parameters
    ----------
    code : bytearray
        Instructions so far.
    data : bytearray
        Constants so far.
    """

    code: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)

    def text(self, value: bytes) -> int:
        """Return the address of a constant, with a zero behind it."""
        place = _BASE + _DATA + len(self.data)
        self.data += value + b"\0" * (8 - len(value) % 8)
        return place

    @staticmethod
    def room(offset: int) -> int:
        """Return the address of a byte of the program's own memory, which is zero at first."""
        return _BASE + _ROOM + offset

    def call(self, number: int, *arguments: int | bytes | At, keep: int | None = None) -> None:
        """Add a system call.

        Parameters
        ----------
        number : int
            Which one.
        *arguments : int, bytes or At
            At most six; bytes are passed as the address of a constant.
        keep : int, optional
            Address at which the answer is stored.
        """
        for index, value in enumerate(arguments):
            if isinstance(value, At):
                load = bytes.fromhex(_LOADS[index])
                self.code += load[:1] + b"\x8b" + load[1:] + struct.pack("<i", value.address)
            else:
                plain = self.text(value) if isinstance(value, bytes) else value & (2**64 - 1)
                prefix = b"\x48" if index < 3 else b"\x49"
                self.code += prefix + bytes.fromhex(_REGISTERS[index]) + struct.pack("<Q", plain)
        self.code += b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"
        if keep is not None:
            self.code += b"\x48\xa3" + struct.pack("<Q", keep)

    def leave_on_error(self, code: int) -> None:
        """Exit with a code if the last call was refused."""
        self.code += b"\x48\x85\xc0\x79\x0c\xbf" + struct.pack("<I", code) + b"\xb8\x3c\0\0\0\x0f\x05"

    def fill(self, length: int) -> None:
        """Write ones to memory, from the address that the last call returned."""
        self.code += b"\x48\x89\xc7\xb0\x01\x48\xb9" + struct.pack("<Q", length) + b"\xf3\xaa"

    def here(self) -> int:
        """Return the place of the next instruction, for :meth:`back`."""
        return len(self.code)

    def back(self, place: int) -> None:
        """Go on at an earlier place."""
        self.code += b"\xe9" + struct.pack("<i", place - len(self.code) - 5)

    def program(self) -> bytes:
        """Return the program as a static ELF file."""
        if len(self.code) > _DATA - _HEAD or len(self.data) > _ROOM - _DATA:
            raise ValueError("a program of a few calls only")
        ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        size = _DATA + len(self.data)
        head = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        head += struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, size, _ROOM + 0x1000, 4096)
        return (head + bytes(self.code)).ljust(_DATA, b"\0") + bytes(self.data)
