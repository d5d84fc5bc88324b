"""Optimizers, gradient clipping and averaged weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minicnn import kernels
from minicnn.device import Array, array_module, device_of
from minicnn.kernels._gpu.recording import each_step, live, recording
from minicnn.kernels.arrays import bytes_each
from minicnn.kernels.parallel import each_piece, run_pieces
from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class Group(NamedTuple):
    """Parameters that share a weight decay."""

    params: Iterable[Tensor]
    weight_decay: float


def decay_groups(model: Module, weight_decay: float) -> list[Group]:
    """Decay weights alone: biases and normalization's scales (one dimension) are left to the loss.

    Source: T. He et al., "Bag of tricks for image classification with CNNs", 2019, section 3.1.
    """
    parameters = list(model.parameters())
    return [
        Group([p for p in parameters if p.ndim > 1], weight_decay),
        Group([p for p in parameters if p.ndim <= 1], 0.0),
    ]


class Optimizer(ABC):
    """What all optimizers share.

    Args:
        params: Tensors, or Groups of them with a weight decay each.
        lr: the learning rate; `optimizer.lr = value` changes it between steps.
        weight_decay: for params that are not in Groups.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[Group], lr: float, weight_decay: float) -> None:
        _check("lr", lr)
        _check("weight_decay", weight_decay)
        name = type(self).__name__
        if isinstance(params, Tensor):  # which can be iterated over: its rows would be trained, and not it
            raise TypeError(f"{name}: expected Tensors to train, got a single one: put it in a list")
        items = list(params)
        for item in items:
            if not isinstance(item, Group | Tensor):
                raise TypeError(f"{name}: expected Tensors or optim.Groups of them, got a {type(item).__name__}")
        for item in items:
            if isinstance(item, Group) and isinstance(item.params, Tensor):
                raise TypeError(f"{name}: expected Tensors in a Group, got a single one: put it in a list")
        # as lists, since `model.parameters()` can be gone through once only
        self.groups = [Group(list(item.params), item.weight_decay) for item in items if isinstance(item, Group)]
        loose = [item for item in items if isinstance(item, Tensor)]
        if loose:
            self.groups.append(Group(loose, weight_decay))
        tensors = [parameter for parameter, _ in self._each()]
        if not tensors:
            raise ValueError(f"{name}: expected parameters to train, got none")
        if len(set(tensors)) < len(tensors):
            raise ValueError(f"{name}: expected every parameter once, got one that would take two steps at a time")
        if any(tensor.node is not None for tensor in tensors):
            raise ValueError(f"{name}: expected parameters, got the result of an operation, which keeps no gradient")
        self.lr = lr
        self.count = 0
        self.state: list[dict[str, Array]] = [
            {name: array_module(p.data).zeros_like(p.data) for name in self.state_names()} for p, _ in self._each()
        ]

    @abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """The arrays that are kept for each parameter."""

    @abstractmethod
    def update(self, each: list[tuple[Array, ...]], weight_decay: float) -> None:
        """Move parameters, and their state, in place; of each (parameter, gradient, *arrays of the state)."""

    def step(self) -> None:
        """Move every parameter that has a gradient; gradients stay as they are."""
        each_step(self._count)
        states = iter(self.state)
        for group in self.groups:
            each = [
                (parameter.data, parameter.grad, *state.values())
                for parameter, state in zip(group.params, states, strict=False)
                if parameter.grad is not None
            ]
            self.update(each, group.weight_decay)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter, _ in self._each():
            parameter.grad = None

    def state_dict(self) -> dict[str, Array]:
        """The state's arrays as NAME.NUMBER; with `count` (and the schedule) all that a resumed run needs."""
        return {f"{name}.{number}": array for number, state in enumerate(self.state) for name, array in state.items()}

    def load_state_dict(self, arrays: dict[str, Array], count: int) -> None:
        """Copy arrays that `state_dict` gave; raises ValueError where they do not fit."""
        own = self.state_dict()
        if {name: a.shape for name, a in own.items()} != {name: a.shape for name, a in arrays.items()}:
            raise ValueError(f"{type(self).__name__}: the saved state is of another optimizer or network")
        for name, array in own.items():
            array[...] = arrays[name]
        self.count = count

    def _each(self) -> Iterator[tuple[Tensor, float]]:
        return ((parameter, group.weight_decay) for group in self.groups for parameter in group.params)

    def _count(self) -> None:
        self.count += 1


class SGD(Optimizer):
    """Gradient descent with momentum: v = momentum v + g; parameter -= lr v (or lr (g + momentum v) with Nesterov).

    Weight decay is coupled (added to g), or decoupled (shrinks the parameter by lr * weight_decay).
    Source: torch.optim.SGD; I. Sutskever et al., 2013, for Nesterov's.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        _check("momentum", momentum)
        if nesterov and momentum == 0:
            raise ValueError("SGD: Nesterov's step needs a momentum above 0")
        self.momentum, self.nesterov, self.decoupled = momentum, nesterov, decoupled
        super().__init__(params, lr, weight_decay)

    def state_names(self) -> tuple[str, ...]:
        """One velocity."""
        return ("velocity",)

    def update(self, each: list[tuple[Array, ...]], weight_decay: float) -> None:
        """By the kernel in force."""
        lr = _number(lambda: self.lr)
        _step("sgd", each, lr, self.momentum, self.nesterov, weight_decay, self.decoupled)


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square; weight decay is added to the gradient.

    The steps by which the means are corrected for their start are counted for all parameters together: one whose first
    gradient comes late is not corrected any more, as it would be in torch.

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: expected betas from 0 to below 1, got {betas}")
        _check("eps", eps)
        self.betas, self.eps = betas, eps
        super().__init__(params, lr, weight_decay)

    def state_names(self) -> tuple[str, ...]:
        """Two moments."""
        return ("first", "second")

    def update(self, each: list[tuple[Array, ...]], weight_decay: float) -> None:
        """By the kernel in force."""
        count, lr = _number(lambda: self.count), _number(lambda: self.lr)
        _step("adam", each, count, lr, self.betas, self.eps, weight_decay, self.decoupled)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, by lr * weight_decay.

    Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far; lr falls as lr / (1 + t lr_decay).

    Source: J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods", 2011; conventions of torch.optim.Adagrad.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[Group],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        _check("lr_decay", lr_decay)
        _check("eps", eps)
        self.lr_decay, self.eps = lr_decay, eps
        super().__init__(params, lr, weight_decay)

    def state_names(self) -> tuple[str, ...]:
        """One sum of squares."""
        return ("squares",)

    def update(self, each: list[tuple[Array, ...]], weight_decay: float) -> None:
        """Plain array code: not hot enough for a kernel."""
        for parameter, grad, squares in each:
            lr = _number(lambda: self.lr / (1 + (self.count - 1) * self.lr_decay), parameter.dtype)
            slope = grad + weight_decay * parameter
            squares += slope * slope
            parameter -= lr * slope / (array_module(parameter).sqrt(squares) + self.eps)


def _number(read: Callable[[], float], dtype: Any = np.float64) -> float | Array:
    """What `read` gives now; in a recorded step a place on the GPU, an array () of `dtype`, that has it each time.

    Array code gives the same bits with either where `dtype` is that of the arrays beside it.
    """
    return live(read, dtype).reshape(()) if recording() else read()


def _step(operation: str, each: list[tuple[Array, ...]], *numbers: Any) -> None:
    """By the kernel in force, which may take all that it serves at once."""
    served: dict[ModuleType, list[tuple[Array, ...]]] = {}
    for arrays in each:
        served.setdefault(kernels.get(operation, arrays[0]), []).append(arrays)
    for kernel, together in served.items():
        if hasattr(kernel, "steps"):
            kernel.steps(together, *numbers)
        else:
            for arrays in together:
                kernel.step(*arrays, *numbers)


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float | Array:
    """Scale all gradients so that their joint Euclidean norm is at most `max_norm`; returns the norm before.

    On a GPU the norm stays there, an array without dimensions.
    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    grads = [parameter.grad for parameter in params if parameter.grad is not None]
    if grads and device_of(grads[0]) == "gpu":
        return _clip_on_gpu(grads, max_norm)
    norm = math.sqrt(sum(_sum_of_squares(grad) for grad in grads))
    if norm > max_norm:
        for grad in grads:
            grad *= max_norm / (norm + 1e-6)
    return norm


def clip_grad_value(params: Iterable[Tensor], max_value: float) -> None:
    """Cut every element of the gradients to [-max_value, max_value]."""
    for parameter in params:
        if parameter.grad is not None:
            array_module(parameter.grad).clip(parameter.grad, -max_value, max_value, out=parameter.grad)


class EMA:
    """A running average of a model's parameters and buffers, which often classifies better than the last ones.

    average = d average + (1 - d) value after each step, with d = min(decay, (1 + t) / (10 + t)) so that the start is
    soon forgotten. Source: B. Polyak, A. Juditsky, 1992; the warm-up is that of TensorFlow's moving averages.
    """

    def __init__(self, model: Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: expected a decay from 0 to below 1, got {decay}")
        self.model, self.decay, self.count = model, decay, 0
        self.average = {name: array.copy() for name, array in model.state_dict().items()}

    def update(self) -> None:
        """Take the model's present values in."""
        each_step(self._count)
        state = self.model.state_dict()
        shares = {dtype: _number(self._share, dtype) for dtype in {array.dtype for array in state.values()}}
        for name, array in state.items():
            _move_towards(self.average[name], array, shares[array.dtype])

    def load_state_dict(self, average: dict[str, Array], count: int) -> None:
        """Go on from averages that were saved after `count` updates; raises ValueError where they do not fit."""
        if {name: a.shape for name, a in self.average.items()} != {name: a.shape for name, a in average.items()}:
            raise ValueError("EMA: the saved averages are of another network")
        for name, array in self.average.items():
            array[...] = average[name]
        self.count = count

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model holds the averages."""
        own = {name: array.copy() for name, array in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def _count(self) -> None:
        self.count += 1

    def _share(self) -> float:
        """How far the averages move in this step."""
        return 1 - min(self.decay, (1 + self.count) / (10 + self.count))


def _clip_on_gpu(grads: list[Array], max_norm: float) -> Array:
    xp = array_module(grads[0])
    norm = xp.sqrt(reduce(add, (kernels.get("reduce", grad).squares(grad) for grad in grads)))
    scale = xp.where(norm > max_norm, max_norm / (norm + 1e-6), 1.0)
    for grad in grads:
        grad *= scale
    return norm


def _sum_of_squares(array: Array) -> float:
    """In float64, where squares of large float32 numbers do not overflow."""
    rows = array_module(array).atleast_1d(array)

    def part(piece: slice) -> float:
        numbers = rows[piece].astype("float64").reshape(-1)
        return float(numbers @ numbers)

    return sum(each_piece(part, rows, 3 * bytes_each(rows)))


def _move_towards(average: Array, array: Array, share: float | Array) -> None:
    """Move `average` in place, piece by piece: the temporary arrays then stay in the cache."""
    xp = array_module(average)
    rows, targets = xp.atleast_1d(average), xp.atleast_1d(array)

    def move(piece: slice) -> None:
        part = rows[piece]
        part += share * (targets[piece] - part)

    run_pieces(move, rows, 4 * bytes_each(rows))


def _check(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"optimizer: expected {name} of at least 0, got {value}")
