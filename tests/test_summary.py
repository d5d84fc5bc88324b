"""Module.summary(): a line a layer, with parameters and multiply-adds that were counted by hand."""

import numpy as np
import pytest

from minicnn import Tensor, is_grad_enabled, models, nn, rng
from minicnn import functional as F
from minicnn.nn.module import tracers


def small_net() -> nn.Sequential:
    shared = nn.Linear(4, 4)
    return nn.Sequential(
        nn.ConvBlock(1, 4, pool=2),
        nn.Residual(nn.ConvBlock(4, 4)),
        nn.Dropout(0.5),
        nn.GlobalAvgPool2d(),
        shared,
        nn.ReLU(),
        shared,
        nn.Linear(4, 7),
    )


def rows(summary: str) -> dict[str, list[str]]:
    """The last two cells, parameters and multiply-adds, of every line by its name."""
    lines = [line.split() for line in summary.splitlines() if line and not line.startswith("-")]
    return {line[0]: line[-2:] for line in lines[1:]}


def test_the_table_reads_from_left_to_right() -> None:
    assert small_net().summary((1, 1, 8, 8)) == (
        "name    layer                                   output        parameters  multiply-adds\n"
        "---------------------------------------------------------------------------------------\n"
        "0       ConvBlock(1→4, k=3, padding=1, pool=2)  (1, 4, 4, 4)          44          2,304\n"
        "1.body  ConvBlock(4→4, k=3, padding=1)          (1, 4, 4, 4)         152          2,304\n"
        "1       Residual()                              (1, 4, 4, 4)           0              0\n"
        "2       Dropout(0.5)                            (1, 4, 4, 4)           0              0\n"
        "3       GlobalAvgPool2d()                       (1, 4)                 0              0\n"
        "5       ReLU()                                  (1, 4)                 0              0\n"
        "6       Linear(4→4)                             (1, 4)                20             32\n"
        "7       Linear(4→7)                             (1, 7)                35             28\n"
        "---------------------------------------------------------------------------------------\n"
        "total                                                                251          4,668"
    )


@pytest.mark.parametrize(
    ("layer", "shape", "parameters", "multiply_adds"),
    [
        (nn.Conv2d(3, 8, 3), (1, 3, 10, 10), 8 * 3 * 9 + 8, 8 * 8 * 8 * 3 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (1, 4, 8, 8), 6 * 2 * 9 + 6, 6 * 4 * 4 * 2 * 9),
        (nn.Conv2d(1, 2, (3, 2), dilation=2, bias=False), (1, 1, 9, 9), 2 * 6, 2 * 5 * 7 * 6),
        (nn.ConvBlock(2, 5, stride=2, pool=2), (1, 2, 8, 8), 5 * 2 * 9 + 10, 5 * 4 * 4 * 2 * 9),
        (nn.Linear(10, 3), (4, 10), 33, 4 * 10 * 3),
        (nn.BatchNorm2d(3), (1, 3, 2, 2), 6, 0),
        (nn.MaxPool2d(2), (1, 3, 4, 4), 0, 0),
    ],
    ids=repr,
)
def test_a_layer_holds_and_costs(layer: nn.Module, shape: tuple[int, ...], parameters: int, multiply_adds: int) -> None:
    total = rows(layer.summary(shape))["total"]
    assert total == [f"{parameters:,}", f"{multiply_adds:,}"]


def test_the_cost_grows_with_the_batch_and_the_parameters_do_not() -> None:
    assert rows(small_net().summary((3, 1, 8, 8)))["total"] == ["251", f"{3 * 4668:,}"]


def test_the_body_and_the_shortcut_of_a_residual_are_counted() -> None:
    net = nn.Sequential(nn.Residual(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 1, bias=False)))
    assert rows(net.summary((1, 2, 4, 4))) == {
        "0.body": ["57", "864"],
        "0.shortcut": ["6", "96"],
        "0": ["0", "0"],
        "total": ["63", "960"],
    }


def test_an_operation_outside_any_layer_belongs_to_the_module_that_calls_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)
            self.mix = nn.Parameter(np.ones((3, 3), dtype=np.float32))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.linear(x, self.mix))

    assert rows(nn.Sequential(Net()).summary((1, 3))) == {
        "0.head": ["8", "6"],
        "0": ["9", "9"],
        "total": ["17", "15"],
    }


def test_a_layer_that_does_not_run_counts_in_the_total_of_the_parameters_alone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    assert rows(Net().summary((1, 3))) == {"used": ["8", "6"], "total": ["16", "6"]}


def test_the_networks_of_this_package_take_a_face_unless_told_otherwise() -> None:
    total = rows(models.build(2).summary())["total"]
    # 32 filters of 3x3 at 48x48, 64 of 32x3x3 at 24x24, 64x12x12 features for 7 classes
    assert total == ["83,431", f"{32 * 9 * 48 * 48 + 64 * 32 * 9 * 24 * 24 + 64 * 12 * 12 * 7:,}"]


def test_a_float64_network_has_a_summary_too() -> None:
    assert rows(small_net().double().summary((1, 1, 8, 8)))["total"] == ["251", "4,668"]


# What it leaves alone


def test_it_leaves_every_module_in_its_mode() -> None:
    net = small_net()
    net[1].eval()
    before = [module.training for _, module in net.named_modules()]
    net.summary((1, 1, 8, 8))
    assert [module.training for _, module in net.named_modules()] == before


def test_it_leaves_parameters_statistics_gradients_and_random_numbers() -> None:
    net = small_net()
    arrays, generator = {name: array.copy() for name, array in net.state_dict().items()}, rng.get_state()
    net.summary((4, 1, 8, 8))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, arrays[name])
    assert all(parameter.grad is None and parameter.node is None for parameter in net.parameters())
    assert rng.get_state() == generator


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 2, 8, 8)], ids=["fits", "does not fit"])
def test_it_leaves_the_graph_on_and_nobody_listening(shape: tuple[int, ...]) -> None:
    net = small_net()
    if shape[1] == 1:
        net.summary(shape)
    else:
        with pytest.raises(ValueError, match="expected input"):
            net.summary(shape)
    assert is_grad_enabled()
    assert tracers == []
    assert net.training
    y = net(Tensor(np.ones((2, 1, 8, 8), dtype=np.float32)))
    F.sum(y).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
