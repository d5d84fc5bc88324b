"""Memory as a simulated kernel sees it: it knows who touched which element, and since which barrier."""

from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent


class KernelError(Exception):
    """A kernel does what would be wrong, or undefined, on a GPU."""


class Stamp(NamedTuple):
    """Who touches memory, and how many barriers of its block and of its warp it has passed."""

    block: int
    thread: int
    warp: int
    block_phase: int
    warp_phase: int

    def races_with(self, other: "Stamp") -> bool:
        """Whether nothing orders two accesses: other threads, and no barrier that both have passed in between."""
        if self.block != other.block:
            return True
        if self.thread == other.thread or self.block_phase != other.block_phase:
            return False
        return self.warp != other.warp or self.warp_phase == other.warp_phase


class Memory:
    """An array with checked elements. Nothing but single elements can be read and written, as in most kernels."""

    def __init__(self, array: Any, name: str, written: bool = True) -> None:
        self._array, self._name = array, name
        self.shape, self.ndim, self.size, self.nbytes = array.shape, array.ndim, array.size, array.nbytes
        self._integers = array.dtype.kind in "iu"
        self._all_written = written
        self._writer: dict[int, Stamp] = {}
        self._readers: dict[int, list[Stamp]] = {}
        self._places: dict[Any, int] = {}  # indices that were checked before: a third of the time goes into checks

    @classmethod
    def poisoned(cls, shape: int | tuple[int, ...], dtype: Any, name: str) -> "Memory":
        """Memory that nobody has written: reading an element before that is an error."""
        kind = np.dtype(getattr(dtype, "name", dtype))  # Numba's types have NumPy's names
        poison = np.nan if kind.kind == "f" else np.iinfo(kind).min
        return cls(np.full(shape, poison, kind), name, written=False)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        place, mine = self._places.get(index), getcurrent().stamp
        if place is None:
            place = self._place(index)
        writer = self._writer.get(place)
        if writer is None:
            if not self._all_written:
                raise KernelError(f"{getcurrent()} reads {self._at(index)} before it is written")
        elif mine.races_with(writer):
            self._race("reads", index, "writes", writer)
        readers = self._readers.setdefault(place, [])
        if not readers or readers[-1] is not mine:
            readers.append(mine)
        value = self._array[index]
        return int(value) if self._integers else value  # Numba computes with integers of any size in 64 bits

    def __setitem__(self, index: Any, value: Any) -> None:
        place, mine = self._places.get(index), getcurrent().stamp
        if place is None:
            place = self._place(index)
        writer = self._writer.get(place)
        if writer is not None and mine.races_with(writer):
            self._race("writes", index, "writes", writer)
        for reader in self._readers.pop(place, ()):
            if mine.races_with(reader):
                self._race("writes", index, "reads", reader)
        self._writer[place] = mine
        self._array[index] = value

    def _place(self, index: Any) -> int:
        """The number of an element, counted row by row."""
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) != self.ndim:
            raise KernelError(f"{getcurrent()}: {len(indices)} indices for {self._name} of shape {self.shape}")
        place = 0
        for i, extent in zip(indices, self.shape, strict=True):
            if not 0 <= i < extent:
                raise KernelError(f"{getcurrent()}: index {index} is outside of {self._name} of shape {self.shape}")
            place = place * extent + i
        self._places[index] = place
        return place

    def _race(self, does: str, index: Any, did: str, other: Stamp) -> None:
        raise KernelError(
            f"a race: {getcurrent()} {does} {self._at(index)}, which thread {other.thread} of block {other.block} "
            f"{did} with no barrier in between"
        )

    def _at(self, index: Any) -> str:
        return f"{self._name}[{index}]"
