"""A split on the GPU: its images as uint8, and the memory that batches of them are made in."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn import kernels
from minicnn.data.augment import Amounts
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import Array, module_for
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.augment import WORDS, words


class _Memory(NamedTuple):
    """Of all batches of one size: what the host sends in one copy, the parts of it, and the images."""

    sent: Array
    amounts: Array
    targets: Array
    images: Array


class Resident:
    """Images on the GPU, from which batches are made there.

    All batches of one size are the same arrays, so that a recorded training step finds each batch where the first
    one was. The GPU works in the order in which it is asked, so that a batch is not overwritten while a step that
    was asked for before still reads it.

    Args:
        levels: uint8 (N, H, W), see Preprocessing.levels.
        preprocessing: how they are normalized.
    """

    def __init__(self, levels: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
        module_for("gpu")  # the one line that says what is missing, where something is
        self._scale, self._shift = preprocessing.scale, preprocessing.shift
        self._levels = driver().empty(levels.shape, np.uint8)
        driver().copy(levels, self._levels)
        self._memory: dict[int, _Memory] = {}

    def batch(self, amounts: Amounts, targets: NDArray[Any]) -> tuple[Array, Array]:
        """Images float32 (B, 1, H, W) and `targets` on the GPU; they are there until the next batch of this size."""
        if len(amounts) not in self._memory:
            self._memory[len(amounts)] = self._room(targets)
        memory = self._memory[len(amounts)]
        driver().copy(np.concatenate([words(amounts).ravel(), targets.view(np.int32).ravel()]), memory.sent)
        kernel = kernels.get("augment", self._levels)
        kernel.forward(self._levels, memory.amounts, self._scale, self._shift, memory.images)
        return memory.images, memory.targets

    def _room(self, targets: NDArray[Any]) -> _Memory:
        n = len(targets)
        sent = driver().empty((n * WORDS + targets.nbytes // 4,), np.int32)
        return _Memory(
            sent,
            sent[: n * WORDS].reshape(n, WORDS),
            sent[n * WORDS :].view(targets.dtype).reshape(targets.shape),
            driver().empty((n, 1, *self._levels.shape[1:]), np.float32),
        )
