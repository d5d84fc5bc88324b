"""The networks: 2 to 8 convolutional layers over a 48x48 grey face, with seven emotions as output."""

from collections.abc import Iterator

from minicnn import nn
from minicnn.nn import init

DEPTHS = range(2, 9)
"""How many convolutional layers a network may have."""

PRESETS = ("default", "best", "paper", "bench")
"""What `build` offers; the recipe that trains each is in minicnn.recipes."""

# Channels of each layer, in stages that end with a pooling. Depth is added where images are small and layers cheap.
_DEFAULT_STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((32,), (64,)),
    3: ((32,), (64,), (128,)),
    4: ((32,), (64,), (128,), (256,)),
    5: ((32,), (64,), (128, 128), (256,)),
    6: ((32,), (64, 64), (128, 128), (256,)),
    7: ((32,), (64, 64), (128, 128), (256, 256)),
    8: ((32, 32), (64, 64), (128, 128), (256, 256)),
}

# More of the depth where maps are small, which is where its wide layers see whole faces, and still a quick network.
_BEST_STAGES = _DEFAULT_STAGES | {
    6: ((32,), (64,), (128, 128), (256, 256)),
}

_PAPER_WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)
_PAPER_POOLINGS = 4


def build(layers: int, preset: str = "default", classes: int = 7) -> nn.Sequential:
    """A network from (N, 1, 48, 48) to logits (N, classes), freshly initialized from minicnn's random numbers.

    `default` has one small dense layer; `best` is the same with more dropout, and wider where it has 6 layers; `paper`
    follows the lineage of the paper, with RReLU and large dense layers; `bench` has the paper's convolutions with ReLU
    and a smaller head, for comparing speed.
    Raises ValueError for a depth outside 2 to 8 or an unknown preset.
    """
    if layers not in DEPTHS:
        raise ValueError(f"layers: expected {DEPTHS[0]} to {DEPTHS[-1]} convolutional layers, got {layers}")
    if preset == "default":
        return nn.Sequential(*_blocks(_DEFAULT_STAGES[layers], 0.3, classes))
    if preset == "best":
        return nn.Sequential(*_blocks(_BEST_STAGES[layers], 0.4, classes))
    if preset == "paper":
        return nn.Sequential(*_paper(layers, classes))
    if preset == "bench":
        return nn.Sequential(*_bench(layers, classes))
    raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")


def _blocks(stages: tuple[tuple[int, ...], ...], dropout: float, classes: int) -> Iterator[nn.Module]:
    channels = 1
    for stage in stages:
        for position, width in enumerate(stage):
            yield nn.ConvBlock(channels, width, pool=2 if position == len(stage) - 1 else None)
            channels = width
    side = 48 >> len(stages)
    yield nn.Flatten()
    yield nn.Dropout(dropout)
    yield nn.Linear(channels * side * side, classes)


def _paper(layers: int, classes: int) -> Iterator[nn.Module]:
    """Convolution, batch normalization, RReLU, pooling; convolution weights N(0, 0.04)."""
    channels = 1
    for number, width in enumerate(_PAPER_WIDTHS[:layers]):
        convolution = nn.Conv2d(channels, width, 3, padding=1)
        init.normal(convolution.weight, 0.0, 0.04)
        yield convolution
        yield nn.BatchNorm2d(width)
        yield nn.RReLU()
        if number < _PAPER_POOLINGS:
            yield nn.MaxPool2d(2)
        channels = width
    yield nn.Flatten()
    yield nn.Dropout(0.2)
    yield nn.Linear(_paper_features(layers), 4096)
    yield nn.RReLU()
    yield nn.Dropout(0.5)
    yield nn.Linear(4096, 1024)
    yield nn.RReLU()
    yield nn.Linear(1024, 256)
    yield nn.RReLU()
    yield nn.Linear(256, classes)


def _bench(layers: int, classes: int) -> Iterator[nn.Module]:
    channels = 1
    for number, width in enumerate(_PAPER_WIDTHS[:layers]):
        yield nn.ConvBlock(channels, width, pool=2 if number < _PAPER_POOLINGS else None)
        channels = width
    yield nn.Flatten()
    yield nn.Dropout(0.2)
    yield nn.Linear(_paper_features(layers), 1024)
    yield nn.ReLU()
    yield nn.Dropout(0.5)
    yield nn.Linear(1024, 256)
    yield nn.ReLU()
    yield nn.Linear(256, classes)


def _paper_features(layers: int) -> int:
    """What is left of 48x48 pixels after the poolings, times the channels."""
    side = 48 >> min(layers, _PAPER_POOLINGS)
    return _PAPER_WIDTHS[layers - 1] * side * side
