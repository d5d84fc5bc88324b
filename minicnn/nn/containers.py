"""Modules made of Modules: one after the other, and around a shortcut."""

from collections.abc import Iterator

from minicnn.nn.module import Module
from minicnn.tensor import Tensor


class Sequential(Module):
    """Modules that run one after the other; they are called 0, 1, 2, ... as in torch. TypeError for anything else."""

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for number, module in enumerate(modules):
            if not isinstance(module, Module):  # an attribute that is no Module would be passed over in silence
                got = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
                raise TypeError(f"Sequential: expected Modules, as in Sequential(ReLU(), Tanh()), got {got}")
            setattr(self, str(number), module)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, number: int) -> Module:
        return list(self)[number]

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` through all of them."""
        for module in self:
            x = module(x)
        return x

    def __repr__(self) -> str:
        return "Sequential(" + ", ".join(map(repr, self)) + ")"


class Residual(Module):
    """body(x) + shortcut(x); the shortcut is x itself unless a Module is given.

    Raises ValueError where the two shapes differ. Source: K. He et al., "Deep residual learning for image
    recognition", 2016.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Run both ways and add."""
        y = self.body(x)
        way_around = x if self.shortcut is None else self.shortcut(x)
        if y.shape != way_around.shape:
            raise ValueError(
                f"Residual: expected body and shortcut to give one shape, got {y.shape} and {way_around.shape}: "
                "give a shortcut, as in Conv2d(in, out, 1)"
            )
        return y + way_around
