"""Function: one operation with its forward and backward on raw arrays, and the checks that all of them share."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, ClassVar

from minicnn.device import Array, device_of
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.recording import recording
from minicnn.tensor import Tensor

OpHook = Callable[["Function", str, float, Array], None]
"""Called after each operation: the Function, "forward" or "backward", the seconds it took, its output or upstream."""

_MIXED = ("float32", "bfloat16")

_hooks: list[OpHook] = []
_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this block, or a function that it decorates, no graph is built."""
    before = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(before)


def is_grad_enabled() -> bool:
    """Whether operations build a graph here."""
    return _grad_enabled.get()


@contextmanager
def op_hook(hook: OpHook) -> Iterator[None]:
    """Call `hook` after each operation inside the block, forward and backward: for profiles and summaries."""
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


class Function(ABC):
    """One application of an operation: a node of the graph.

    A subclass defines `forward(self, *arrays) -> array` and `backward(self, grad) -> gradient, or a tuple of one for
    each input` (None where an input has none). Forward writes down by name what backward needs: `self.save(x=x)`,
    then `self.saved.x`. A backward returns new arrays, the upstream gradient itself, or views of either, and never
    writes to the upstream. Calling an instance applies it to Tensors; it can be called once.

    Attributes:
        name: what error messages and profiles call the operation.
        optional: how many of the last inputs may be left out, as None.
        mixed: whether bfloat16 arrays may come in and go out, beside float32 ones. All others refuse them.
        inputs: the Tensors it was applied to.
        needs_grad: for each input, whether anybody wants its gradient (backward may return None for the others).
    """

    name: ClassVar[str]
    mixed: ClassVar[bool] = False
    optional: ClassVar[int] = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__dict__.get("name", cls.__name__)

    @abstractmethod
    def forward(self, *inputs: Any) -> Array:
        """Compute the output from the inputs' arrays (None where an optional input is left out)."""

    @abstractmethod
    def backward(self, grad: Array) -> Any:
        """Compute the gradient of each input from that of the output."""

    def multiply_adds(self, output: Array) -> int:
        """How many multiply-adds the forward pass to `output` took; 0 for what is not a matrix product."""
        return 0

    def save(self, **values: Any) -> None:
        """Keep `values` for backward, as `self.saved.NAME`."""
        self.saved.__dict__.update(values)

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Apply the operation.

        Raises TypeError for inputs that are no Tensors, or differ in dtype or device, and RuntimeError the second time.
        """
        if hasattr(self, "saved"):  # its first result would go backward through what belongs to the second
            raise RuntimeError(f"{self.name}: a Function is one application: make another for each call")
        dtypes = self._check_inputs(inputs)
        self.saved = SimpleNamespace()
        self.freed = False
        grad_enabled = is_grad_enabled()
        self.needs_grad = tuple(grad_enabled and x is not None and x.requires_grad for x in inputs)
        started = time.perf_counter()
        output = self.forward(*(None if x is None else x.data for x in inputs))
        self._notify("forward", started, output)
        if str(output.dtype) not in dtypes:
            raise TypeError(f"{self.name}: the forward pass turned {' and '.join(dtypes)} into {output.dtype}")
        result = Tensor(output)
        if any(self.needs_grad):
            self.inputs = inputs
            result.node, result.requires_grad = self, True
        return result

    def gradients(self, grad: Array) -> tuple[Array | None, ...]:
        """Run backward and check what it returns: one gradient for each input, of the input's shape and dtype."""
        started = time.perf_counter()
        result = self.backward(grad)
        self._notify("backward", started, grad)
        grads = result if isinstance(result, tuple) else (result,)
        if len(grads) != len(self.inputs):
            raise RuntimeError(f"{self.name}: {len(self.inputs)} inputs, but backward gave {len(grads)} gradients")
        for x, g in zip(self.inputs, grads, strict=True):
            if x is not None and g is not None and (g.shape != x.shape or g.dtype != x.dtype):
                raise RuntimeError(f"{self.name}: input {x.shape} {x.dtype}, but its gradient is {g.shape} {g.dtype}")
        return grads

    def free(self) -> None:
        """Let go of inputs and saved arrays; a second backward through here is an error."""
        self.inputs, self.saved, self.freed = (), SimpleNamespace(), True

    def _check_inputs(self, inputs: tuple[Tensor | None, ...]) -> tuple[str, ...]:
        """The dtypes that the output may have: that of the inputs, or either of _MIXED where they may meet."""
        needed = len(inputs) - self.optional
        given = []
        for number, x in enumerate(inputs):
            if x is None and number >= needed:
                continue
            if x is None:
                raise TypeError(f"{self.name}: expected Tensors, input {number} is None: did a forward return nothing?")
            if not isinstance(x, Tensor):
                raise TypeError(f"{self.name}: expected Tensors, got a {type(x).__name__}: wrap it, Tensor(array)")
            given.append(x)
        self._check_one("device", {str(device_of(x.data)) for x in given})
        dtypes = {str(x.dtype) for x in given}
        if self.mixed and dtypes <= set(_MIXED):
            return _MIXED
        self._check_one("dtype", dtypes)
        if "bfloat16" in dtypes:
            raise TypeError(f"{self.name}: expected float32, got bfloat16, which this operation has not: use tf32")
        return tuple(dtypes)

    def _check_one(self, what: str, values: set[str]) -> None:
        if len(values) > 1:
            names = " and ".join(sorted(values))
            raise TypeError(f"{self.name}: expected inputs of one {what}, got {names}: convert one of them")

    def _notify(self, phase: str, started: float, array: Array) -> None:
        if _hooks and device_of(array) == "gpu" and not recording():
            driver().synchronize()  # so that the time is that of the work, and not of asking for it
        for hook in _hooks:
            hook(self, phase, time.perf_counter() - started, array)
