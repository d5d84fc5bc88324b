"""The networks: every preset at every depth, what they are made of, and how they start."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from minicnn import Tensor, manual_seed, models, nn, no_grad

# Parameters at 2 to 8 layers, from the formulas of `count` below.
COUNTS = {
    "default": (83_431, 125_159, 404_455, 552_167, 589_159, 1_179_495, 1_188_775),
    "best": (83_431, 125_159, 404_455, 552_167, 1_142_503, 1_179_495, 1_188_775),
    "paper": (80_035_975, 42_582_919, 24_889_735, 27_250_567, 29_611_399, 31_972_231, 34_333_063),
    "bench": (19_214_279, 10_072_519, 6_534_599, 8_894_919, 11_255_239, 13_615_559, 15_975_879),
}
WIDTHS = {
    ("default", 2): [32, 64],
    ("default", 3): [32, 64, 128],
    ("default", 4): [32, 64, 128, 256],
    ("default", 5): [32, 64, 128, 128, 256],
    ("default", 6): [32, 64, 64, 128, 128, 256],
    ("default", 7): [32, 64, 64, 128, 128, 256, 256],
    ("default", 8): [32, 32, 64, 64, 128, 128, 256, 256],
}
WIDTHS |= {("best", depth): widths for (_, depth), widths in WIDTHS.items()}
WIDTHS["best", 6] = [32, 64, 128, 128, 256, 256]
WIDTHS |= {
    (preset, depth): [64, 128, 256, 512, 512, 512, 512, 512][:depth]
    for preset in ("paper", "bench")
    for depth in range(2, 9)
}
HEADS = {"default": [], "best": [], "paper": [4096, 1024, 256], "bench": [1024, 256]}


def count(preset: str, depth: int) -> int:
    """Parameters: 3x3 convolutions with batch normalization, then dense layers; a block's convolution has no bias."""
    total, channels = 0, 1
    for width in WIDTHS[preset, depth]:
        total += 9 * channels * width + 2 * width + (width if preset == "paper" else 0)
        channels = width
    side = 48 // 2 ** min(depth, 4)  # every network pools after its first stages, at most four times
    features = channels * side * side
    for width in [*HEADS[preset], 7]:
        total += features * width + width
        features = width
    return total


CASES = [(preset, depth) for preset in COUNTS for depth in range(2, 9)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def network(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, nn.Sequential]]:
    """Each network is built once for the tests that ask for it; some have 80 million parameters."""
    manual_seed(1)
    yield (*request.param, models.build(request.param[1], request.param[0]))
    gc.collect()


def test_a_network_takes_faces_and_gives_seven_logits(network: tuple[str, int, nn.Sequential]) -> None:
    faces = Tensor(np.random.default_rng(0).standard_normal((2, 1, 48, 48)).astype(np.float32))
    with no_grad():
        logits = network[2](faces)
    assert logits.shape == (2, 7)
    assert logits.dtype == np.float32
    assert np.isfinite(logits.data).all()
    assert np.abs(logits.data[0] - logits.data[1]).max() > 0


def test_a_network_has_as_many_parameters_as_its_formula_says(network: tuple[str, int, nn.Sequential]) -> None:
    preset, depth, model = network
    size = sum(parameter.size for parameter in model.parameters())
    assert size == count(preset, depth) == COUNTS[preset][depth - 2]


def test_a_network_has_the_widths_and_the_layers_asked_for(network: tuple[str, int, nn.Sequential]) -> None:
    preset, depth, model = network
    convolutions = [module for _, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert [layer.weight.shape[0] for layer in convolutions] == WIDTHS[preset, depth]
    assert {layer.weight.shape[2:] for layer in convolutions} == {(3, 3)}
    assert {layer.padding for layer in convolutions} == {1}


def test_a_network_pools_after_its_first_four_layers_or_at_the_end_of_each_stage_of_equal_widths(
    network: tuple[str, int, nn.Sequential],
) -> None:
    preset, depth, model = network
    pooled = [
        number
        for number, module in enumerate(m for m in model if isinstance(m, nn.Conv2d | nn.ConvBlock | nn.MaxPool2d))
        if isinstance(module, nn.MaxPool2d) or getattr(module, "pool", None) is not None
    ]
    widths = WIDTHS[preset, depth]
    stages = [layer for layer, width in enumerate(widths) if widths[layer + 1 : layer + 2] != [width]]
    expected = {
        "paper": [2 * layer + 1 for layer in range(min(depth, 4))],  # each a module of its own, after its convolution
        "bench": list(range(min(depth, 4))),  # part of the block
        "default": stages,
        "best": stages,
    }
    assert pooled == expected[preset]


def test_paper_has_the_parameters_of_its_lineage() -> None:
    assert round(COUNTS["paper"][1] / 1e6, 2) == 42.58


def test_paper_is_convolution_normalization_rrelu_pooling_and_three_large_dense_layers() -> None:
    assert [repr(module) for module in models.build(5, "paper")] == [
        "Conv2d(1→64, k=3, padding=1)",
        "BatchNorm2d(64)",
        "RReLU(0.125, 0.333)",
        "MaxPool2d(2)",
        "Conv2d(64→128, k=3, padding=1)",
        "BatchNorm2d(128)",
        "RReLU(0.125, 0.333)",
        "MaxPool2d(2)",
        "Conv2d(128→256, k=3, padding=1)",
        "BatchNorm2d(256)",
        "RReLU(0.125, 0.333)",
        "MaxPool2d(2)",
        "Conv2d(256→512, k=3, padding=1)",
        "BatchNorm2d(512)",
        "RReLU(0.125, 0.333)",
        "MaxPool2d(2)",
        "Conv2d(512→512, k=3, padding=1)",
        "BatchNorm2d(512)",
        "RReLU(0.125, 0.333)",
        "Flatten()",
        "Dropout(0.2)",
        "Linear(4608→4096)",
        "RReLU(0.125, 0.333)",
        "Dropout(0.5)",
        "Linear(4096→1024)",
        "RReLU(0.125, 0.333)",
        "Linear(1024→256)",
        "RReLU(0.125, 0.333)",
        "Linear(256→7)",
    ]


def test_bench_is_blocks_and_a_smaller_head() -> None:
    assert [repr(module) for module in models.build(5, "bench")] == [
        "ConvBlock(1→64, k=3, padding=1, pool=2)",
        "ConvBlock(64→128, k=3, padding=1, pool=2)",
        "ConvBlock(128→256, k=3, padding=1, pool=2)",
        "ConvBlock(256→512, k=3, padding=1, pool=2)",
        "ConvBlock(512→512, k=3, padding=1)",
        "Flatten()",
        "Dropout(0.2)",
        "Linear(4608→1024)",
        "ReLU()",
        "Dropout(0.5)",
        "Linear(1024→256)",
        "ReLU()",
        "Linear(256→7)",
    ]


def test_default_is_blocks_and_one_dense_layer() -> None:
    assert [repr(module) for module in models.build(5)] == [
        "ConvBlock(1→32, k=3, padding=1, pool=2)",
        "ConvBlock(32→64, k=3, padding=1, pool=2)",
        "ConvBlock(64→128, k=3, padding=1)",
        "ConvBlock(128→128, k=3, padding=1, pool=2)",
        "ConvBlock(128→256, k=3, padding=1, pool=2)",
        "Flatten()",
        "Dropout(0.3)",
        "Linear(2304→7)",
    ]


def test_convolutions_of_paper_start_normal_with_deviation_0_04() -> None:
    weights = [module.weight.data for module in models.build(4, "paper") if isinstance(module, nn.Conv2d)]
    for weight in weights[1:]:
        assert weight.mean() == pytest.approx(0, abs=1e-3)
        assert weight.std() == pytest.approx(0.04, rel=0.01)
        assert (np.abs(weight) < 0.04).mean() == pytest.approx(0.6827, abs=0.005)
        assert (np.abs(weight) < 0.08).mean() == pytest.approx(0.9545, abs=0.005)
    assert weights[0].std() == pytest.approx(0.04, rel=0.1)  # 576 numbers


@pytest.mark.parametrize("preset", models.PRESETS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_gives_others(preset: str) -> None:
    def built(seed: int) -> list[np.ndarray]:
        manual_seed(seed)
        return list(models.build(4, preset).state_dict().values())[:12]  # the convolutions will do

    one, same, other = built(3), built(3), built(4)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_the_number_of_classes_can_be_chosen() -> None:
    assert models.build(2, classes=3)(Tensor(np.ones((2, 1, 48, 48), dtype=np.float32))).shape == (2, 3)


@pytest.mark.parametrize("layers", [-1, 0, 1, 9])
def test_a_depth_that_there_is_not_is_refused(layers: int) -> None:
    with pytest.raises(ValueError, match="layers") as raised:
        models.build(layers)
    assert str(raised.value) == f"layers: expected 2 to 8 convolutional layers, got {layers}"


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^preset: expected one of default, best, paper, bench, got 'vgg'$"):
        models.build(4, "vgg")
