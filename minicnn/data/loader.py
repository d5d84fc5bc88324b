"""Batches for training: shuffled, preprocessed and augmented while the network computes.

On the CPU a thread makes the whole batch. On a GPU the images lie there from the start; the thread draws what is to
happen to them, which is sent in one copy, and the GPU does it.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from minicnn import kernels
from minicnn.data.augment import Amounts, Augmentation
from minicnn.data.dataset import Split
from minicnn.data.preprocessing import Preprocessing
from minicnn.data.resident import Resident
from minicnn.device import Array, Device
from minicnn.kernels.augment import words

Made = TypeVar("Made")

_AHEAD = 2  # batches prepared before they are asked for


class Batch(NamedTuple):
    """What one training step takes, on the loader's device.

    On the GPU all batches of one size are the same two arrays: a batch is there until the next one is asked for.

    Attributes:
        images: float32 (B, 1, H, W), normalized.
        targets: int64 (B,) labels, or float32 (B, classes) probabilities: with mixup, or where the loader has them.
    """

    images: Array
    targets: Array


class Loader:
    """Cuts a split into batches.

    A batch depends on nothing but the seed, the number of the epoch and its own index: the order is drawn
    from (seed, epoch), the augmentation from (seed, epoch, batch). So there is no state to save: a run that
    resumes with `epoch(number, start)` gets the same bits as one that never stopped. The GPU makes the bits
    that the CPU makes.

    Attributes:
        split: images and labels.
        preprocessing: applied to every image.
        batch_size: images a batch; the last one of an epoch has what is left.
        seed: of the order and the augmentation, at least 0.
        shuffle: whether each epoch has an order of its own, or all have the split's.
        augmentation: applied after preprocessing; by default nothing.
        classes: the width of soft targets.
        drop_last: leave out a last batch that is not full.
        targets: what is to be learned of each image: its label, or float32 (N, classes), probabilities.

    Args:
        device: where the batches are; on "gpu" the whole split is kept there, as uint8.

    Raises:
        ValueError: batch_size, seed or the split's size make no batches.
        DeviceError: there is no such device.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        augmentation: Augmentation | None = None,
        classes: int = 7,
        drop_last: bool = False,
        targets: NDArray[np.float32] | None = None,
        device: Device = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"Loader: expected a batch_size of at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"Loader: expected a seed of at least 0, got {seed}")
        if len(split) == 0:
            raise ValueError("Loader: expected at least one image, got an empty split")
        if drop_last and len(split) < batch_size:
            raise ValueError(
                f"Loader: {len(split)} images make no full batch of {batch_size}: use a smaller batch_size, "
                "or drop_last=False"
            )
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.augmentation = augmentation or Augmentation()
        self.classes = classes
        self.drop_last = drop_last
        self.targets: NDArray[Any] = split.labels if targets is None else targets
        self._levels = preprocessing.levels(split.images)  # once for all epochs
        self._resident = Resident(self._levels, preprocessing) if device == "gpu" else None

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` from index `start` on, in order.

        They are prepared by a thread that lives as long as the iterator, at most two ahead; an error in it is
        raised here. Close the iterator (or drop it) to stop early. The GPU is asked for a batch only when the
        iterator is.

        Raises:
            ValueError: `number` is negative, or `start` not in 0..len(self).
        """
        if number < 0:
            raise ValueError(f"Loader.epoch: expected a number of at least 0, got {number}")
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader.epoch: expected start in 0..{len(self)}, got {start}")
        return self._batches(number, start)

    def _batches(self, number: int, start: int) -> Generator[Batch, None, None]:
        order = self._order(number)
        indices = range(start, len(self))
        if self._resident is None:
            yield from _ahead(lambda index: self._made(*self._drawn(order, number, index)), indices)
            return
        with closing(_ahead(lambda index: self._drawn(order, number, index), indices)) as drawn:
            for amounts, targets in drawn:
                yield Batch(*self._resident.batch(amounts, targets))

    def _order(self, number: int) -> NDArray[np.intp]:
        if not self.shuffle:
            return np.arange(len(self.split))
        return np.random.default_rng([self.seed, number]).permutation(len(self.split))

    def _drawn(self, order: NDArray[np.intp], number: int, index: int) -> tuple[Amounts, Array]:
        """What happens to each image of a batch, and its targets."""
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        # Counted from 1: a trailing 0 would give NumPy's seed sequence of the order.
        rng = np.random.default_rng([self.seed, number, index + 1])
        amounts = self.augmentation.draw(rng, len(chosen), *self._levels.shape[1:])
        amounts["image"] = chosen
        return amounts, self.augmentation.targets(self.targets[chosen], amounts, self.classes)

    def _made(self, amounts: Amounts, targets: Array) -> Batch:
        images = np.empty((len(amounts), 1, *self._levels.shape[1:]), np.float32)
        kernel = kernels.get("augment", self._levels)
        kernel.forward(self._levels, words(amounts), self.preprocessing.scale, self.preprocessing.shift, images)
        return Batch(images, targets)


def _ahead(make: Callable[[int], Made], indices: range) -> Generator[Made, None, None]:
    """`make(index)` for each index in order, by a thread that is at most `_AHEAD` ahead."""
    # An executor and not a thread of our own: its thread waits between batches, never on a full queue, so
    # that an iterator forgotten half-way cannot keep the interpreter from exiting.
    executor = ThreadPoolExecutor(1, thread_name_prefix="minicnn-loader")
    try:
        waiting: deque[Future[Made]] = deque()
        for index in indices:
            waiting.append(executor.submit(make, index))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Not waiting: the garbage collector may close a forgotten iterator in any thread, also in one that holds the
        # lock which the executor's thread needs to end, and then both would wait for ever.
        executor.shutdown(wait=False, cancel_futures=True)
