"""Array arguments between pages that cannot be touched, so that a kernel which reaches beyond one is caught.

A launch works on copies: those that lie in the same memory are copied together, everything else on its own, so that
reaching from one part of a big array into the next is caught as well. What a kernel reaches by an address that it
found in memory is not copied, and not guarded.
"""

import ctypes
import mmap
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

_MARGIN = 64 * mmap.PAGESIZE
"""Forbidden on each side: most wrong indices end up there, not in somebody else's memory."""

_ALIGNMENT = 16
"""The copy keeps its address modulo that of the widest access, so there may be free bytes between it and the page."""

_POISON = np.full(mmap.PAGESIZE, 0x7FA1, np.uint16).view(np.uint8)
"""Around the copy: in bfloat16 and in float32 a NaN that arithmetic changes, so that writing back is noticed too."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_unused: dict[int, list[np.ndarray]] = {}
"""Regions that no launch works on, by their size in pages; they are never given back, since launches repeat."""


class _Extent:
    """Bytes that one or more arguments lie in, and their copy."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end = begin, end
        self.numbers: list[int] = []
        self.written = False

    def copy_in(self) -> None:
        size = self.end - self.begin
        self.pages = max(1, -(-(size + _ALIGNMENT) // mmap.PAGESIZE))
        self.region = _take_region(self.pages)
        last = self.region.size - size
        self.offset = last - (self.region.ctypes.data + last - self.begin) % _ALIGNMENT
        self.inside = self.region[self.offset : self.offset + size]
        self.inside[...] = _bytes_at(self.begin, size)
        for free, poison in self._free():
            free[...] = poison

    @property
    def moved(self) -> int:
        """How far the copy is from the original, in bytes."""
        return int(self.region.ctypes.data) + self.offset - self.begin

    def copy_back(self) -> None:
        if self.written:
            _bytes_at(self.begin, self.inside.size)[...] = self.inside

    def overrun(self) -> str | None:
        """Where something was written beside the copy, if it was."""
        for where, (free, poison) in zip(("before", "behind"), self._free(), strict=True):
            if (free != poison).any():
                return f"bytes written {where} {self}"
        return None

    def _free(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The bytes before and behind the copy, and what is to be there."""
        end = self.offset + self.inside.size
        before, behind = self.region[: self.offset], self.region[end:]
        return [(before, _POISON[: before.size]), (behind, _POISON[end % 2 :][: behind.size])]

    def near(self, address: int) -> str | None:
        """Where an address lies in or beside this memory, if it does."""
        first, end = self.begin + self.moved, self.end + self.moved
        if first <= address < end:
            return f"{address - first} bytes into {self}"
        if first - _MARGIN <= address < first:
            return f"{first - address} bytes before the start of {self}"
        if end <= address < end + _MARGIN:
            return f"{address - end} bytes after the end of {self}"
        return None

    def __str__(self) -> str:
        return f"argument {' and '.join(map(str, self.numbers))} ({self.end - self.begin} bytes)"


class GuardedArrays:
    """The arrays of one launch.

    Args:
        arrays: the arguments, of which those that are no arrays are passed over.
        written: for each, whether the kernel may write there.
    """

    def __init__(self, arrays: Sequence[Any], written: Sequence[bool]) -> None:
        self._extents = _extents(arrays)
        for extent in self._extents:
            extent.written = any(written[number] for number in extent.numbers)
            extent.copy_in()
        self.pointers = {
            number: arrays[number].ctypes.data + extent.moved for extent in self._extents for number in extent.numbers
        }

    def written(self) -> np.ndarray:
        """First and last address of each copy that the kernel may write (count, 2)."""
        ranges = [(e.begin + e.moved, e.end + e.moved) for e in self._extents if e.written]
        return np.array(ranges, np.uint64).reshape(-1, 2)

    def copy_back(self) -> None:
        """Give the arrays what the kernel wrote."""
        for extent in self._extents:
            extent.copy_back()

    def overrun(self) -> str | None:
        """What the kernel wrote beside the arrays, if it did."""
        return next((found for extent in self._extents if (found := extent.overrun())), None)

    def explain(self, message: str) -> str:
        """A message with the address of a fault told as a place beside an array."""
        address = re.search(r"at address (0x[0-9a-f]+)", message)
        places = (extent.near(int(address[1], 16)) for extent in self._extents) if address else ()
        place = next((place for place in places if place), None)
        return message if place is None or address is None else message.replace(address[0], place)

    def release(self) -> None:
        """Leave the memory to the next launch."""
        for extent in self._extents:
            _unused[extent.pages].append(extent.region)


def _extents(arrays: Sequence[Any]) -> list[_Extent]:
    """The memory of all arrays, overlapping ones as one."""
    bounds = [(*byte_bounds(array), number) for number, array in enumerate(arrays) if isinstance(array, np.ndarray)]
    extents: list[_Extent] = []
    for begin, end, number in sorted(bounds):
        if not extents or begin >= extents[-1].end:
            extents.append(_Extent(begin, end))
        extents[-1].end = max(end, extents[-1].end)
        extents[-1].numbers.append(number)
    return extents


def _take_region(pages: int) -> np.ndarray:
    """Memory of so many pages with forbidden ones before and behind."""
    kept = _unused.setdefault(pages, [])
    if kept:
        return kept.pop()
    size = pages * mmap.PAGESIZE
    start = _libc.mmap(None, size + 2 * _MARGIN, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    failed = start == ctypes.c_void_p(-1).value
    if failed or _libc.mprotect(start + _MARGIN, size, mmap.PROT_READ | mmap.PROT_WRITE):
        raise MemoryError(f"no {size} bytes for an array between forbidden pages")
    return _bytes_at(start + _MARGIN, size)


def _bytes_at(address: int, size: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)
