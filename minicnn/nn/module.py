"""Module: what all layers and networks are, namely parameters, buffers and other Modules under dotted names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

from minicnn.device import Array, as_device, module_for, to_numpy
from minicnn.tensor import Tensor


class Parameter(Tensor):
    """A Tensor that is trained: it requires a gradient, and Modules find it by itself."""

    def __init__(self, data: Any) -> None:
        super().__init__(data, requires_grad=True)


class Tracer(Protocol):
    """Follows which Modules run (see minicnn.nn.summary)."""

    def enter(self, module: "Module") -> None:
        """`module` is about to run."""

    def leave(self, module: "Module", output: Tensor) -> None:
        """`module` gave `output`."""


tracers: list[Tracer] = []


class Module:
    """A layer or network.

    A subclass calls `super().__init__()`, assigns Parameters, Modules and (by `register_buffer`) arrays to
    attributes, and defines `forward`. Their order of assignment is their order everywhere. There is no magic: an
    attribute that was never assigned raises AttributeError.
    """

    training: bool

    def __init__(self) -> None:
        self.training = True
        self._buffers: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output; subclasses define it."""
        raise TypeError(f"{type(self).__name__} defines no forward()")

    def __call__(self, x: Tensor) -> Tensor:
        """Run `forward`."""
        for tracer in tracers:
            tracer.enter(self)
        output = self.forward(x)
        for tracer in tracers:
            tracer.leave(self, output)
        return output

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def register_buffer(self, name: str, array: Array) -> None:
        """Keep an array that is saved with the parameters but not trained, as attribute `name`."""
        setattr(self, name, array)
        self._buffers.append(name)

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """The Modules directly inside, by attribute name."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This Module (by `prefix`) and all inside it, by dotted name."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters by dotted name; one that is shared comes once, so that it is trained once."""
        seen: set[Parameter] = set()
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    yield _join(prefix, name), value

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, in the order of `named_parameters`."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """All buffers by dotted name."""
        for prefix, module in self.named_modules():
            for name in module._buffers:
                yield _join(prefix, name), getattr(module, name)

    def train(self, mode: bool = True) -> Self:
        """Switch this Module and all inside it to training (dropout drops, batch statistics) or evaluation."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation."""
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Inside the block all is in evaluation; afterwards each Module, frozen ones too, is as it was before.

        Blocks of one Module in two threads must not overlap.
        """
        before = [(module, module.training) for _, module in self.named_modules()]
        try:
            yield self.eval()
        finally:
            for module, training in before:
                module.training = training

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device: str) -> Self:
        """Move parameters and buffers to "cpu" or "gpu", in place; gradients are forgotten."""
        target = as_device(device)
        return self._replace_arrays(lambda array: _moved(array, target))

    def double(self) -> Self:
        """Make parameters and buffers float64, in place, as gradient checks want them; gradients are forgotten."""
        return self._replace_arrays(lambda array: array.astype("float64"))

    def _replace_arrays(self, change: Callable[[Array], Array]) -> Self:
        for _, module in self.named_modules():
            for value in vars(module).values():
                if isinstance(value, Parameter):
                    value.data, value.grad = change(value.data), None
            for name in module._buffers:
                setattr(module, name, change(getattr(module, name)))
        return self

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers by dotted name (torch's names): the arrays themselves, not copies."""
        state = {}
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    state[_join(prefix, name)] = value.data
                elif name in module._buffers:
                    state[_join(prefix, name)] = value
        return state

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy arrays into parameters and buffers; their dtype stays.

        Raises ValueError that lists the names which are missing, unknown or of another shape; nothing has been
        changed then.
        """
        own = self.state_dict()
        wrong = [f"{name} is missing" for name in own if name not in state]
        wrong += [f"{name} is unknown" for name in state if name not in own]
        wrong += [
            f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ]
        if wrong:
            more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError(f"{type(self).__name__}: the weights do not fit: {', '.join(wrong[:5])}{more}")
        for name, array in own.items():
            array[...] = state[name]

    def summary(self, input_shape: tuple[int, ...] = (1, 1, 48, 48)) -> str:
        """A table of the layers that run on an input of `input_shape`: outputs, parameters, multiply-adds."""
        from minicnn.nn.summary import summarize  # it needs Module

        return summarize(self, input_shape)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _moved(array: Array, device: Any) -> Array:
    return to_numpy(array) if device == "cpu" else module_for(device).asarray(array)
