"""Batches for training: shuffled, preprocessed and augmented by a thread while the network computes."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicnn.data.augment import Augmentation
from minicnn.data.dataset import Split
from minicnn.data.preprocessing import Preprocessing

_AHEAD = 2  # batches prepared before they are asked for


class Batch(NamedTuple):
    """What one training step takes.

    Attributes:
        images: float32 (B, 1, H, W), normalized.
        targets: int64 (B,) labels, or float32 (B, classes) probabilities with mixup.
    """

    images: NDArray[np.float32]
    targets: NDArray[Any]


class Loader:
    """Cuts a split into batches.

    A batch depends on nothing but the seed, the number of the epoch and its own index: the order is drawn
    from (seed, epoch), the augmentation from (seed, epoch, batch). So there is no state to save: a run that
    resumes with `epoch(number, start)` gets the same bits as one that never stopped.

    Attributes:
        split: images and labels.
        preprocessing: applied to every image.
        batch_size: images a batch; the last one of an epoch has what is left.
        seed: of the order and the augmentation, at least 0.
        shuffle: whether each epoch has an order of its own, or all have the split's.
        augmentation: applied after preprocessing; none for evaluation.
        classes: the width of soft targets.
        drop_last: leave out a last batch that is not full.

    Raises:
        ValueError: batch_size, seed or the split's size make no batches.
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
        self.augmentation = augmentation
        self.classes = classes
        self.drop_last = drop_last

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def epoch(self, number: int, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number` from index `start` on, in order.

        They are prepared by a thread that lives as long as the iterator, at most two ahead; an error in it is
        raised here. Close the iterator (or drop it) to stop early.

        Raises:
            ValueError: `number` is negative, or `start` not in 0..len(self).
        """
        if number < 0:
            raise ValueError(f"Loader.epoch: expected a number of at least 0, got {number}")
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader.epoch: expected start in 0..{len(self)}, got {start}")
        return self._prefetched(number, start)

    def _prefetched(self, number: int, start: int) -> Generator[Batch, None, None]:
        order = self._order(number)
        # An executor and not a thread of our own: its thread waits between batches, never on a full queue, so
        # that an iterator forgotten half-way cannot keep the interpreter from exiting.
        executor = ThreadPoolExecutor(1, thread_name_prefix="minicnn-loader")
        try:
            waiting: deque[Future[Batch]] = deque()
            for index in range(start, len(self)):
                waiting.append(executor.submit(self._batch, order, number, index))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _order(self, number: int) -> NDArray[np.intp]:
        if not self.shuffle:
            return np.arange(len(self.split))
        return np.random.default_rng([self.seed, number]).permutation(len(self.split))

    def _batch(self, order: NDArray[np.intp], number: int, index: int) -> Batch:
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.preprocessing(self.split.images[chosen])
        labels = self.split.labels[chosen]
        if self.augmentation is None:
            return Batch(images, labels)
        # Counted from 1: a trailing 0 would give NumPy's seed sequence of the order.
        rng = np.random.default_rng([self.seed, number, index + 1])
        return Batch(*self.augmentation.apply(images, labels, rng, self.classes))
