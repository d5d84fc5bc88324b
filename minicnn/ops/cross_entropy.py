"""The losses of classification: softmax cross-entropy and negative log-likelihood."""

from typing import Literal, NamedTuple

from minicnn import kernels
from minicnn.device import Array, array_module
from minicnn.function import Function
from minicnn.kernels._gpu.recording import recording
from minicnn.ops.reduce import total
from minicnn.tensor import Tensor

Reduction = Literal["mean", "sum", "none"]


class CrossEntropy(Function):
    """- sum of target * log softmax(logits), for each row."""

    def __init__(self, target: Array) -> None:
        self.target = target

    def forward(self, logits: Array) -> Array:
        """One loss a row (N,)."""
        loss, probabilities = kernels.get("cross_entropy", logits).forward(logits, self.target)
        self.save(probabilities=probabilities)
        return loss

    def backward(self, grad: Array) -> Array:
        """Softmax minus target."""
        return kernels.get("cross_entropy", grad).backward(grad, self.saved.probabilities, self.target)


class NLLLoss(Function):
    """- sum of target * log probability, for each row."""

    def __init__(self, target: Array) -> None:
        self.target = target

    def forward(self, log_probabilities: Array) -> Array:
        """One loss a row (N,); a class that weighs nothing adds nothing, even at probability 0."""
        xp = array_module(log_probabilities)
        terms = self.target * xp.where(self.target != 0, log_probabilities, 0)
        return -terms.sum(axis=1).astype(log_probabilities.dtype, copy=False)

    def backward(self, grad: Array) -> Array:
        """Minus target."""
        return -grad[:, None] * self.target


class _Targets(NamedTuple):
    """What each class weighs in each row's loss (M, C), and what the mean divides by."""

    weights: Array
    total: float | Array


def cross_entropy(
    logits: Tensor,
    target: Array,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax cross-entropy of `logits` (N, C) or (N, C, d1, ...) against `target`.

    `target` holds class numbers (N,) or (N, d1, ...), or probabilities of the logits' shape. `weight` (C,) scales
    each class; the mean then divides by the weights of the targets (by N for probabilities). Label smoothing e
    mixes in e / C of every class. "none" gives the losses in the target's shape. Raises ValueError where shapes or
    class numbers do not fit. Source: torch.nn.functional.cross_entropy; C. Szegedy et al., 2016, section 7.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: expected label smoothing from 0 to 1, got {label_smoothing}")
    targets = _targets("cross_entropy", logits, target, weight, label_smoothing)
    losses = CrossEntropy(targets.weights)(_rows(logits))
    return _reduce("cross_entropy", losses, targets, _positions(logits), reduction)


def nll_loss(
    log_probabilities: Tensor, target: Array, weight: Array | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Negative log-likelihood: minus `log_probabilities` (N, C) or (N, C, d1, ...) at the classes of `target`.

    Arguments and errors as for cross_entropy. Source: torch.nn.functional.nll_loss.
    """
    targets = _targets("nll_loss", log_probabilities, target, weight, 0.0)
    losses = NLLLoss(targets.weights)(_rows(log_probabilities))
    return _reduce("nll_loss", losses, targets, _positions(log_probabilities), reduction)


def _positions(logits: Tensor) -> tuple[int, ...]:
    return (logits.shape[0], *logits.shape[2:])


def _rows(logits: Tensor) -> Tensor:
    """(N, C, d1, ...) as (N d1 ..., C), a class a column."""
    if logits.ndim == 2:
        return logits
    last = logits.transpose(0, *range(2, logits.ndim), 1)
    return last.reshape(-1, logits.shape[1])


def _targets(name: str, logits: Tensor, target: Array, weight: Array | None, smoothing: float) -> _Targets:
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name}: expected logits as a Tensor, got a {type(logits).__name__}: wrap it, Tensor(array)")
    if logits.ndim < 2 or logits.shape[0] == 0:
        raise ValueError(f"{name}: expected logits (N, C) with N of at least 1, got {logits.shape}")
    if isinstance(target, Tensor):
        raise TypeError(f"{name}: expected a plain array as target, got a Tensor: use its .data")
    xp, classes, dtype = array_module(logits.data), logits.shape[1], logits.dtype
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: expected class weights ({classes},), got {weight.shape}")
    scale = xp.ones(classes, dtype=dtype) if weight is None else weight.astype(dtype)
    target = xp.asarray(target)
    if target.dtype.kind == "f":
        return _soft_targets(name, logits, target, scale, smoothing)
    if target.dtype.kind not in "iu":  # booleans would be taken for a mask
        raise ValueError(f"{name}: expected integer class numbers or probabilities as target, got {target.dtype}")
    if target.shape != _positions(logits):
        raise ValueError(f"{name}: expected target {_positions(logits)} of class numbers, got {target.shape}")
    labels = target.reshape(-1)
    # a step that is recorded was run before, with labels that were looked at
    if labels.size and not recording() and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"{name}: expected class numbers 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    chosen = labels[:, None] == xp.arange(classes)
    weights = xp.where(chosen, dtype.type(1 - smoothing), dtype.type(0))
    weights += smoothing / classes
    return _Targets(weights * scale, labels.size if weight is None else total(xp.where(chosen, scale, dtype.type(0))))


def _soft_targets(name: str, logits: Tensor, target: Array, scale: Array, smoothing: float) -> _Targets:
    if target.shape != logits.shape:
        raise ValueError(f"{name}: expected probabilities {logits.shape} as target, got {target.shape}")
    classes = logits.shape[1]
    rows = target.transpose(0, *range(2, target.ndim), 1).reshape(-1, classes).astype(logits.dtype, copy=False)
    return _Targets((rows * (1 - smoothing) + smoothing / classes) * scale, float(len(rows)))


def _reduce(name: str, losses: Tensor, targets: _Targets, shape: tuple[int, ...], reduction: Reduction) -> Tensor:
    if reduction == "mean":
        return losses.sum() / targets.total
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses.reshape(*shape)
    raise ValueError(f'{name}: expected reduction "mean", "sum" or "none", got {reduction!r}')
