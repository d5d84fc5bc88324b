"""What the peer is to build: our network, layer by layer, in PyTorch's names; and our optimizer."""

from collections.abc import Callable, Iterator
from typing import Any

from minicnn import models, nn, optim, recipes
from minicnn.errors import UserError

VGG = "vgg"
"""A network to compare speed on alone: 8 convolutions and two dense layers of 4096, after Simonyan, Zisserman, 2015."""

PRESETS = (*models.PRESETS, VGG)
"""What a benchmark may be asked for."""

_VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512)

Layer = dict[str, Any]
"""`layer`: a class of torch.nn; `options`: its arguments; `arrays`: its arrays' names -> ours in `state_dict`."""


def build(layers: int, preset: str) -> nn.Module:
    """The network that is timed; raises UserError where there is none of that depth."""
    if preset != VGG:
        return models.build(layers, preset)
    if layers != len(_VGG_WIDTHS):
        raise UserError(f"bench: preset {VGG} has {len(_VGG_WIDTHS)} layers: use --layers {len(_VGG_WIDTHS)}")
    return nn.Sequential(*_vgg())


def recipe(layers: int, preset: str) -> recipes.Recipe:
    """How it is trained; the network without a recipe of its own as preset bench."""
    return recipes.preset("bench" if preset == VGG else preset, layers=layers)


def describe_network(model: nn.Module) -> list[Layer]:
    """The layers of `model`, in order; raises UserError for a layer that has no counterpart here."""
    return list(_layers(model, ""))


def describe_optimizer(optimizer: optim.Optimizer) -> dict[str, Any]:
    """Class and options of torch.optim; raises UserError for an optimizer that has no counterpart here.

    The two groups are those of `optim.decay_groups`: weights decay, whatever has one dimension does not.
    """
    decay = {"weight_decay": optimizer.groups[0].weight_decay}
    if isinstance(optimizer, optim.SGD):
        options: dict[str, Any] = {"lr": optimizer.lr, "momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
        return {"optimizer": "SGD", "optimizer_options": options, **decay}
    if isinstance(optimizer, optim.AdamW):
        options = {"lr": optimizer.lr, "betas": optimizer.betas, "eps": optimizer.eps}
        return {"optimizer": "AdamW", "optimizer_options": options, **decay}
    raise UserError(f"bench: {type(optimizer).__name__} has no counterpart in the peer's worker")


def _vgg() -> Iterator[nn.Module]:
    channels = 1
    for number, width in enumerate(_VGG_WIDTHS):
        yield nn.ConvBlock(channels, width, pool=2 if number % 2 else None)
        channels = width
    yield nn.Flatten()
    for features in (channels * 3 * 3, 4096):
        yield nn.Linear(features, 4096)
        yield nn.ReLU()
        yield nn.Dropout(0.5)
    yield nn.Linear(4096, 7)


def _layers(module: nn.Module, name: str) -> Iterator[Layer]:
    if type(module) is nn.Sequential:
        for label, child in module.children():
            yield from _layers(child, f"{name}.{label}".lstrip("."))
    elif type(module) is nn.ConvBlock:
        yield from _layers(module.conv, f"{name}.conv")
        yield from _layers(module.bn, f"{name}.bn")
        yield _layer("ReLU")
        if module.pool is not None:
            yield _layer("MaxPool2d", {"kernel_size": module.pool})
    elif translate := _TRANSLATIONS.get(type(module)):
        own = [key for key, value in vars(module).items() if isinstance(value, nn.Parameter) or key in module._buffers]
        yield _layer(type(module).__name__, translate(module), {key: f"{name}.{key}" for key in own})
    else:
        raise UserError(f"bench: layer {name} is {module!r}, which has no counterpart in the peer's worker")


def _layer(kind: str, options: dict[str, Any] | None = None, arrays: dict[str, str] | None = None) -> Layer:
    return {"layer": kind, "options": options or {}, "arrays": arrays or {}}


def _conv2d(layer: nn.Conv2d) -> dict[str, Any]:
    return {
        "in_channels": layer.weight.shape[1] * layer.groups,
        "out_channels": layer.weight.shape[0],
        "kernel_size": layer.weight.shape[2:],
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "bias": layer.bias is not None,
    }


def _linear(layer: nn.Linear) -> dict[str, Any]:
    outputs, inputs = layer.weight.shape
    return {"in_features": inputs, "out_features": outputs, "bias": layer.bias is not None}


def _none(_: nn.Module) -> dict[str, Any]:
    return {}


_TRANSLATIONS: dict[type[nn.Module], Callable[[Any], dict[str, Any]]] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm2d: lambda layer: {"num_features": layer.weight.size, "eps": layer.eps, "momentum": layer.momentum},
    nn.Linear: _linear,
    nn.MaxPool2d: lambda layer: {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding},
    nn.Dropout: lambda layer: {"p": layer.p},
    nn.RReLU: lambda layer: {"lower": layer.lower, "upper": layer.upper},
    nn.ReLU: _none,
    nn.Flatten: _none,
}
"""The layers that minicnn.models is made of; the classes have the same names in torch.nn."""
