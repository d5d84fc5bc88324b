"""As much of PyTorch as loads a network and runs it, by the definitions in its documentation, in plain NumPy.

Written without a look at minicnn: names, shapes and layouts are those of torch.nn's pages, and a name too many or
too few is an error, as there.
"""

from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

Floats = NDArray[np.float32]


class Module:
    """Parameters and buffers by name, with their shapes, and modules inside."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.inside: dict[str, Module] = {}
        self.arrays: dict[str, Floats] = {}

    def expected(self) -> dict[str, tuple[int, ...]]:
        below = {f"{a}.{b}": shape for a, module in self.inside.items() for b, shape in module.expected().items()}
        return {**self.shapes, **below}

    def load_state_dict(self, state: dict[str, Floats]) -> None:
        given = {name: array.shape for name, array in state.items()}
        if given != self.expected():
            raise RuntimeError(f"Error(s) in loading state_dict: {sorted(given.items() ^ self.expected().items())}")
        self.arrays = {name: state[name] for name in self.shapes}
        for name, module in self.inside.items():
            module.load_state_dict({key.partition(".")[2]: state[key] for key in state if key.startswith(f"{name}.")})

    def eval(self) -> "Module":
        return self


class Sequential(Module):
    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = isinstance(modules[0], OrderedDict)
        self.inside = dict(modules[0]) if named else {str(number): module for number, module in enumerate(modules)}

    def __call__(self, x: Floats) -> Floats:
        for module in self.inside.values():
            x = module(x)  # type: ignore[operator]
        return x


class Conv2d(Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int, bias: bool) -> None:
        super().__init__()
        assert not bias
        self.padding = padding
        self.shapes = {"weight": (out_channels, in_channels, kernel_size, kernel_size)}

    def __call__(self, x: Floats) -> Floats:
        weight = self.arrays["weight"].astype(np.float64)
        around = ((0, 0), (0, 0), (self.padding,) * 2, (self.padding,) * 2)
        windows = sliding_window_view(np.pad(x, around), weight.shape[2:], (2, 3))
        return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)


class BatchNorm2d(Module):
    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (num_features,))

    def __call__(self, x: Floats) -> Floats:
        arrays = {name: array[:, None, None] for name, array in self.arrays.items()}
        normal = (x - arrays["running_mean"]) / np.sqrt(arrays["running_var"] + self.eps)
        return normal * arrays["weight"] + arrays["bias"]


class ReLU(Module):
    def __call__(self, x: Floats) -> Floats:
        return np.maximum(x, 0)


class MaxPool2d(Module):
    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.size = kernel_size

    def __call__(self, x: Floats) -> Floats:
        n, c, h, w = x.shape
        k = self.size
        return x.reshape(n, c, h // k, k, w // k, k).max(axis=(3, 5))


class Flatten(Module):
    def __call__(self, x: Floats) -> Floats:
        return x.reshape(len(x), -1)


class Dropout(Module):
    """In evaluation."""

    def __init__(self, p: float) -> None:
        super().__init__()

    def __call__(self, x: Floats) -> Floats:
        return x


class Linear(Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.shapes = {"weight": (out_features, in_features), "bias": (out_features,)}

    def __call__(self, x: Floats) -> Floats:
        return x @ self.arrays["weight"].T + self.arrays["bias"]


def modules() -> dict[str, ModuleType]:
    """What stands for torch, torch.nn and safetensors.torch in sys.modules."""
    torch, own, files = ModuleType("torch"), ModuleType("torch.nn"), ModuleType("safetensors.torch")
    for kind in (Sequential, Conv2d, BatchNorm2d, ReLU, MaxPool2d, Flatten, Dropout, Linear):
        setattr(own, kind.__name__, kind)
    torch.nn, files.load_file = own, load_file  # type: ignore[attr-defined]
    return {"torch": torch, "torch.nn": own, "safetensors.torch": files}
