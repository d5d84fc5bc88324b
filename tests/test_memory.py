"""Memory: graphs go when nobody holds them, by reference counting alone, and training does not grow."""

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from threadpoolctl import threadpool_limits

from minicnn import Function, Tensor, nn, no_grad, optim
from minicnn import functional as F


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Python's cycle collector off: what is freed now is freed by reference counting."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvBlock(8, 8, pool=2),
        nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.RReLU())),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 7),
    )


def loss_of(model: nn.Module, batch: int = 4) -> Tensor:
    x = np.random.default_rng(0).standard_normal((batch, 1, 24, 24), dtype="float32")
    return F.cross_entropy(model(Tensor(x)), np.arange(batch) % 7)


def live() -> int:
    """How many Tensors and Functions there are."""
    return sum(issubclass(type(thing), Tensor | Function) for thing in gc.get_objects())


def nodes_behind(last: Tensor) -> list[weakref.ref[Function]]:
    found, waiting = [], [last.node]
    while waiting:
        node = waiting.pop()
        assert node is not None
        found.append(weakref.ref(node))
        waiting += [x.node for x in node.inputs if x is not None and x.node is not None]
    return found


@pytest.mark.usefixtures("without_collector")
def test_100_dropped_forward_passes_leave_no_tensor_behind() -> None:
    model = network()
    before = live()
    for _ in range(100):
        loss_of(model)
    assert live() == before


@pytest.mark.usefixtures("without_collector")
def test_100_forward_and_backward_passes_leave_no_tensor_behind() -> None:
    model = network()
    before = live()
    for _ in range(100):
        loss_of(model).backward()
    assert live() == before


@pytest.mark.usefixtures("without_collector")
def test_100_evaluations_without_a_graph_leave_no_tensor_behind() -> None:
    model = network().eval()
    before = live()
    with no_grad():
        for _ in range(100):
            loss_of(model)
    assert live() == before


@pytest.mark.usefixtures("without_collector")
def test_a_graph_goes_with_the_last_tensor_that_holds_it() -> None:
    loss = loss_of(network())
    nodes = nodes_behind(loss)
    assert len(nodes) > 10
    assert all(node() is not None for node in nodes)
    del loss
    assert all(node() is None for node in nodes)


@pytest.mark.usefixtures("without_collector")
def test_backward_frees_the_graph_while_the_loss_is_still_held() -> None:
    loss = loss_of(network())
    nodes = nodes_behind(loss)
    loss.backward()
    assert [node() for node in nodes if node() is not None] == [loss.node]


@pytest.mark.usefixtures("without_collector")
def test_200_training_steps_keep_the_resident_size_flat() -> None:
    """A graph takes 1.2 MB, one activation 0.3 MB: to keep either at every step is far above the tolerance."""
    model, process = network(), psutil.Process()
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
    sizes = []
    with threadpool_limits(1):  # more threads wait for each other where other programs keep the cores busy
        for _ in range(220):
            optimizer.zero_grad()
            loss_of(model, batch=16).backward()
            optimizer.step()
            sizes.append(process.memory_info().rss)
    warm = sizes[19]
    assert max(sizes[20:]) - warm < 5 * 2**20
