"""One training step, and how a GPU takes many: the first as Python, then recorded and replayed."""

from typing import TYPE_CHECKING

from minicnn import functional as F
from minicnn import rng
from minicnn.data.loader import Batch
from minicnn.device import Array, array_module, module_for
from minicnn.kernels._gpu.recording import Recording
from minicnn.nn.module import Module
from minicnn.ops.reduce import total
from minicnn.optim import EMA, Optimizer, clip_grad_norm
from minicnn.tensor import Tensor

if TYPE_CHECKING:
    from minicnn.recipes import Recipe

Key = tuple[tuple[int, ...], tuple[int, ...]]
"""The shapes of a batch's images and targets."""

_ATTEMPTS = 2
"""How often to try to record: a kernel that is compiled during the first attempt can spoil it, and is there then."""


class Step:
    """What is done with a batch.

    Args:
        model: the network; a step leaves it in training mode.
        optimizer: of its parameters.
        ema: its running average, if any.
        recipe: says how to smooth labels and to clip.
        class_weights: (classes,) on the model's device, if any.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, ema: EMA | None, recipe: "Recipe", class_weights: Array | None
    ) -> None:
        self.model, self.optimizer, self.ema = model, optimizer, ema
        self.recipe, self.class_weights = recipe, class_weights

    def forward(self, images: Array, targets: Array) -> tuple[Array, Tensor]:
        """Logits and loss."""
        scores = self.model.train()(Tensor(images))
        return scores.data, F.cross_entropy(scores, targets, self.class_weights, self.recipe.label_smoothing)

    def backward(self, loss: Tensor) -> None:
        """Gradients, and what they change."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip:
            clip_grad_norm(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update()


class GpuSteps:
    """Steps on a GPU, each of which only asks for work: nothing comes back but by `take_sums`.

    The first step of a batch's shape runs as Python, which makes everything that is made when first needed. The
    second is recorded, and replayed as all further ones; see minicnn.kernels._gpu.recording. So all batches of a shape
    have to come in the same arrays, as minicnn.data.Loader's do.

    Attributes:
        refused: why steps run as Python for good, or None.
        replay: whether to replay what was recorded; a profile has it run as Python, to see each operation.
        replayed: how many steps were replayed so far.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._sums = module_for("gpu").zeros(2, dtype="float64")  # of losses and of right answers
        self._batches: dict[Key, Batch] = {}
        self._recordings: dict[Key, Recording] = {}
        self._failures = 0
        self.refused: str | None = None
        self.replay = True
        self.replayed = 0

    def __call__(self, batch: Batch) -> None:
        """Take the step; raises ValueError for other arrays than those of the first batch of this shape."""
        key = tuple(batch.images.shape), tuple(batch.targets.shape)
        first = key not in self._batches
        known = self._batches.setdefault(key, batch)
        if batch.images is not known.images or batch.targets is not known.targets:
            raise ValueError(
                "GpuSteps: expected the same arrays for every batch of a shape: a recording reads no others"
            )
        if key not in self._recordings and not first and self.refused is None:
            self._record(key)
        if key in self._recordings and self.replay:
            self._recordings[key].replay()
            self.replayed += 1
        else:
            self._work(batch)

    def take_sums(self) -> tuple[float, float]:
        """The sum of all images' losses and the number of right answers since this was last asked; waits for it."""
        loss, correct = self._sums.get().tolist()
        self._sums.fill(0)
        return loss, correct

    def _record(self, key: Key) -> None:
        batch, drawn = self._batches[key], rng.get_state()
        try:
            self._recordings[key] = Recording(lambda: self._work(batch))
        except RuntimeError as error:  # some operation wants what a recording cannot hold
            rng.set_state(drawn)  # without what the attempt took
            self._failures += 1
            if self._failures == _ATTEMPTS:
                self.refused = str(error).strip().splitlines()[0]

    def _work(self, batch: Batch) -> None:
        scores, loss = self._step.forward(*batch)
        self._step.backward(loss)
        self._sums[:1] += loss.data.astype("float64") * len(scores)
        self._sums[1:] += correct(scores, batch.targets)


def correct(scores: Array, targets: Array) -> Array:
    """How many rows of `scores` (N, C) are largest at their target (labels, or probabilities): no dimensions.

    Element-wise code and one sum, so that it can be recorded. Equal largest scores count as right, and NaN as wrong.
    """
    largest = _largest(scores)[:, None]
    if targets.ndim == 1:
        wanted = targets[:, None] == array_module(targets).arange(scores.shape[1])
    else:
        wanted = targets == _largest(targets)[:, None]
    return total((wanted & (scores == largest)).astype(scores.dtype))


def _largest(rows: Array) -> Array:
    """The largest of each row, by one maximum a column."""
    largest = rows[:, 0]
    for column in range(1, rows.shape[1]):
        largest = array_module(rows).maximum(largest, rows[:, column])
    return largest
