"""A frozen network's short cut for one image or a few: all its layers as one chain of kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from minicnn import function, kernels, nn
from minicnn.kernels import parallel
from minicnn.nn import module as modules
from minicnn.ops.conv2d import window
from minicnn.tensor import Tensor

FEW = 16
"""Images up to which going through the layers one by one costs more than it is worth: four faces, by four crops each.

Of 8 images the chain takes 0.6 of the layers' time, of 16 between 0.5 and 1.0, by how wide the layers are.
"""


@contextmanager
def planned(model: nn.Module) -> Iterator[None]:
    """Inside the block, whose weights must not change, `model` answers few images by a chain of kernels if it can.

    It has to be in evaluation. Blocks of one model in two threads must not overlap.
    """
    if type(model) is not nn.Sequential or "forward" in vars(model):  # nothing to plan, or planned already
        yield
        return
    model.forward = _Planned(model)  # type: ignore[method-assign]
    try:
        yield
    finally:
        vars(model).pop("forward", None)


class _Planned:
    """A Sequential's `forward`."""

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self.modules = [module for _, module in model.named_modules()]
        self.chains: dict[Any, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """By the chain for images of this shape, or else layer by layer."""
        chain = self._chain(x) if self._allows(x) else None
        if chain is None:
            return nn.Sequential.forward(self.model, x)
        run, shape = chain
        y = np.empty(shape, np.float32)
        run(x.data, y)
        return Tensor(y)

    def __deepcopy__(self, copies: dict[int, Any]) -> Any:
        """A copy of the network has weights of its own, and goes layer by layer."""
        return partial(nn.Sequential.forward, copies[id(self.model)])

    def _allows(self, x: Tensor) -> bool:
        """Nobody watches the layers, and `x` is few images of one channel, in whose memory rows follow each other."""
        data = x.data
        return (
            not (function._hooks or modules.tracers or function.is_grad_enabled())
            and not any(module.training for module in self.modules)
            and kernels.chosen() == "fast"
            and isinstance(data, np.ndarray)
            and data.dtype == np.float32
            and data.ndim == 4
            and 0 < len(data) <= FEW
            and data.shape[1] == 1
            and data.flags.c_contiguous
        )

    def _chain(self, x: Tensor) -> Any:
        key = x.data.shape, parallel.threads()
        if key not in self.chains:
            self.chains[key] = _make_chain(self.model, x.data.shape)
        return self.chains[key]


def _make_chain(model: nn.Sequential, shape: tuple[int, ...]) -> Any:
    from minicnn.kernels._cpu import network  # here, so that `import minicnn` needs NumPy alone

    layers = list(_layers(model, network))
    images, channels, height, width = shape
    return None if None in layers else network.chain(layers, (images, height, width, channels))


def _layers(model: nn.Sequential, network: Any) -> Iterator[Any]:
    """The layers as kernels know them; None for one that they do not."""
    order = [module for module in _flat(model) if type(module) is not nn.Dropout]
    for number, module in enumerate(order):
        if type(module) is nn.ReLU and number and type(order[number - 1]) is nn.Linear:
            continue  # the dense layer's kernel does it
        if type(module) is nn.ConvBlock and module.pool in (None, 2, (2, 2)) and _is_float32(module):
            yield _conv_block(module, network)
        elif type(module) is nn.Flatten:
            yield network.Flatten()
        elif type(module) is nn.Linear and _is_float32(module):
            relu = number + 1 < len(order) and type(order[number + 1]) is nn.ReLU
            yield network.Linear(module.weight.data, None if module.bias is None else module.bias.data, relu)
        else:
            yield None


def _flat(model: nn.Sequential) -> Iterator[nn.Module]:
    for module in model:
        yield from _flat(module) if type(module) is nn.Sequential else (module,)


def _is_float32(module: nn.Module) -> bool:
    return all(isinstance(p.data, np.ndarray) and p.data.dtype == np.float32 for p in module.parameters())


def _conv_block(block: nn.ConvBlock, network: Any) -> Any:
    conv, bn = block.conv, block.bn
    arrays = conv.weight.data, bn.weight.data, bn.bias.data, bn.running_mean, bn.running_var
    windows = window("ConvBlock", conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation)
    return network.ConvBlock(*arrays, bn.eps, windows, conv.groups, block.pool is not None)
