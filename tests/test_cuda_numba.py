"""The Numba CUDA kernels: in the simulator against the reference, in three orders of threads, and compiled to PTX.

On a machine with a GPU the same comparisons run on it.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numba import cuda, typeof

from minicnn import Tensor, kernels, optim
from minicnn import functional as F
from minicnn.device import to_numpy
from minicnn.kernels._gpu import numba_launch, recording
from minicnn.kernels._gpu.sources import KERNELS
from minicnn.kernels.windows import Windows
from tests.emulator.simulator import ORDERS, Simulator

OPERATIONS = ("conv2d", "conv_block", "cross_entropy", "linear", "max_pool2d", "reduce", "sgd")
WINDOWS = [
    Windows((3, 3), padding=(1, 1)),
    Windows((2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    Windows((1, 1), stride=(2, 3)),
]


def rung(operation: str, name: str = "cuda_numba") -> ModuleType:
    return import_module(f"minicnn.kernels.{operation}.{name}")


@pytest.fixture
def xp(gpu: Any, emulator: Any) -> Iterator[Any]:
    """CuPy, with kernels launched in the simulator where there is no GPU."""
    numba_launch.use(None if emulator is None else Simulator().launch)
    yield gpu
    numba_launch.use(None)


@pytest.fixture(params=ORDERS)
def agree(xp: Any, emulator: Any, request: pytest.FixtureRequest) -> Callable[..., None]:
    """`agree(operation, function, *arguments)`: the rung gives the reference's float64 results, on float32 arrays."""
    if emulator is not None:
        numba_launch.use(Simulator(request.param).launch)

    def each(change: Callable[[Any], Any], arguments: tuple[Any, ...]) -> list[Any]:
        return [change(value) if isinstance(value, np.ndarray) else value for value in arguments]

    def check(operation: str, function: str, *arguments: Any) -> None:
        fell = kernels.fallbacks()
        given = each(lambda x: xp.asarray(x if x.dtype.kind == "i" else x.astype(np.float32)), arguments)
        rounded = each(lambda x: x if x.dtype.kind == "i" else x.astype(np.float32).astype(np.float64), arguments)
        got = getattr(rung(operation), function)(*given)
        want = getattr(rung(operation, "reference"), function)(*rounded)
        if want is None:  # it has changed its arguments
            got, want = given[:3], rounded[:3]
        results = zip(got, want, strict=True) if isinstance(want, tuple | list) else [(got, want)]
        for found, expected in results:
            if expected is None:
                assert found is None
                continue
            assert found.dtype == (expected.dtype if expected.dtype.kind == "i" else np.float32)
            tolerance = 1e-5 * np.abs(expected[np.isfinite(expected)]).max(initial=0)
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=tolerance)
        assert kernels.fallbacks() == fell

    return check


# Every rung against the reference


@pytest.mark.parametrize(("n", "k", "o"), [(5, 3, 7), (17, 33, 18), (1, 16, 1), (0, 20, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_forward(agree, random, n, k, o, bias):
    x, weight = random.normal(size=(n, k)), random.normal(size=(o, k))
    agree("linear", "forward", x, weight, random.normal(size=o) if bias else None)


@pytest.mark.parametrize(("n", "k", "o"), [(5, 3, 7), (18, 21, 17), (0, 20, 3)])
@pytest.mark.parametrize("need_x", [True, False])
def test_linear_backward(agree, random, n, k, o, need_x):
    arrays = random.normal(size=(n, o)), random.normal(size=(n, k)), random.normal(size=(o, k))
    agree("linear", "backward", *arrays, need_x)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_conv2d_forward(agree, random, windows, channels):
    x, weight = random.normal(size=(2, channels, 5, 6)), random.normal(size=(3, channels, *windows.kernel))
    agree("conv2d", "forward", x, weight, random.normal(size=3), windows, 1)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("need_x", [True, False])
def test_conv2d_backward(agree, random, windows, need_x):
    x, weight = random.normal(size=(2, 3, 5, 6)), random.normal(size=(2, 3, *windows.kernel))
    grad = random.normal(size=(2, 2, *windows.output_size(5, 6)))
    agree("conv2d", "backward", grad, x, weight, windows, 1, need_x)


def test_conv2d_of_an_empty_batch(agree, random):
    x, weight = np.zeros((0, 2, 5, 6)), random.normal(size=(3, 2, 3, 3))
    agree("conv2d", "forward", x, weight, None, WINDOWS[0], 1)
    agree("conv2d", "backward", np.zeros((0, 3, 5, 6)), x, weight, WINDOWS[0], 1)


def test_conv2d_goes_through_the_batch_in_pieces(agree, random, monkeypatch):
    monkeypatch.setattr(rung("conv2d"), "COLUMNS_BYTES", 1)
    monkeypatch.setattr("minicnn.kernels.arrays.CACHE_BYTES", 1)
    x, grad, weight = (random.normal(size=size) for size in ((3, 2, 4, 4), (3, 2, 4, 4), (2, 2, 3, 3)))
    agree("conv2d", "forward", x, weight, None, WINDOWS[0], 1)
    agree("conv2d", "backward", grad, x, weight, WINDOWS[0], 1)


def test_conv2d_takes_memory_in_any_order(xp, random):
    x, weight = (random.normal(size=s).astype(np.float32) for s in ((2, 4, 5, 3), (3, 3, 3, 3)))
    images = xp.asarray(x).transpose(0, 3, 1, 2)
    got = rung("conv2d").forward(images, xp.asarray(weight), None, WINDOWS[0], 1)
    same = rung("conv2d").forward(images.copy(), xp.asarray(weight), None, WINDOWS[0], 1)
    np.testing.assert_array_equal(to_numpy(got), to_numpy(same))


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_max_pool2d_forward(agree, random, windows):
    agree("max_pool2d", "forward", random.normal(size=(2, 3, 7, 6)), windows)


def test_max_pool2d_takes_the_first_of_equals_and_nan_before_all(agree, random):
    x = random.integers(0, 2, size=(2, 2, 6, 6)).astype(float)
    x[0, 0, 1, 1], x[0, 1], x[1, 0, :2, 0], x[1, 1, 0, :2] = np.nan, -np.inf, np.nan, [np.nan, np.inf]
    agree("max_pool2d", "forward", x, Windows((3, 3), stride=(2, 2), padding=(1, 1)))


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_max_pool2d_backward(agree, random, windows):
    grad = random.normal(size=(2, 3, *windows.output_size(7, 6)))
    choice = random.integers(0, np.prod(windows.kernel), size=grad.shape).astype(windows.element_dtype)
    agree("max_pool2d", "backward", grad, choice, 7, 6, windows)


@pytest.mark.parametrize("shape", [(1, 7), (9, 3), (3, 33), (2, 100), (0, 7)])
def test_cross_entropy(agree, random, shape):
    logits, target = 30 * random.normal(size=shape), random.random(shape)
    agree("cross_entropy", "forward", logits, target)
    agree("cross_entropy", "backward", random.normal(size=shape[0]), random.random(shape), target)


def test_cross_entropy_where_a_class_that_weighs_nothing_is_impossible(agree):
    agree("cross_entropy", "forward", np.array([[1.0, -np.inf, 2.0]]), np.array([[0.5, 0.0, 0.5]]))


@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (0,)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("decoupled", [True, False])
def test_sgd(agree, random, shape, nesterov, decoupled):
    arrays = [random.normal(size=shape) for _ in range(3)]
    agree("sgd", "step", *arrays, 0.1, 0.9, nesterov, 0.01, decoupled)


def test_a_thread_does_several_elements_where_the_grid_is_smaller_than_the_array(agree, random, monkeypatch):
    monkeypatch.setattr(numba_launch, "MAX_BLOCKS", 2)
    arrays = [random.normal(size=2 * numba_launch.THREADS + 37) for _ in range(3)]
    agree("sgd", "step", *arrays, 0.1, 0.9, False, 0.01, False)


@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (2500,), (0,)])
def test_reduce(agree, random, shape):
    x = random.normal(size=shape)
    agree("reduce", "total", x)


def test_reduce_makes_parts_longer_where_there_would_be_too_many_blocks(agree, random, monkeypatch):
    monkeypatch.setattr(rung("reduce"), "MAX_BLOCKS", 2)
    agree("reduce", "total", random.normal(size=3000))


@pytest.mark.parametrize("length", [1, 31, 600])
def test_row_sums(xp, random, length):
    x = random.normal(size=(3, length)).astype(np.float32)
    np.testing.assert_allclose(to_numpy(rung("reduce").row_sums(xp.asarray(x))), x.sum(axis=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", [None, Windows((2, 2), stride=(2, 2))])
@pytest.mark.parametrize("training", [True, False])
def test_conv_block(xp, random, pool, training):
    x, weight = random.normal(size=(2, 3, 6, 6)), random.normal(size=(4, 3, 3, 3))
    parameters = [x, weight, random.normal(size=4), random.normal(size=4)]
    running = None if training else (random.normal(size=4), 0.5 + random.random(4))
    results = []
    for block, asarray in ((rung("conv_block"), xp.asarray), (rung("conv_block", "reference"), np.asarray)):
        dtype = np.float32 if asarray is xp.asarray else np.float64
        arrays = [asarray(array.astype(dtype)) for array in parameters]
        fixed = None if running is None else tuple(asarray(array.astype(dtype)) for array in running)
        y, statistics, saved = block.forward(*arrays, fixed, 1e-5, WINDOWS[0], 1, pool)
        grad = asarray(np.random.default_rng(1).normal(size=y.shape).astype(dtype))
        results.append([to_numpy(array) for array in (y, *statistics, *block.backward(grad, saved))])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


# What the rungs leave to array code


def test_other_numbers_and_groups_fall_back_to_array_code(xp, random):
    x, weight = xp.asarray(random.normal(size=(2, 4, 3, 3))), xp.asarray(random.normal(size=(4, 2, 3, 3)))
    rows, flat = x.reshape(2, -1), xp.asarray(random.normal(size=9))
    before = kernels.fallbacks()
    rung("conv2d").forward(x.astype(np.float32), weight.astype(np.float32), None, WINDOWS[0], 2)
    rung("conv2d").backward(x[:, :2], x, x, WINDOWS[0], 1)
    rung("linear").forward(rows, rows, None)
    rung("linear").backward(x[:, 0, 0, :2], rows, rows)
    rung("max_pool2d").backward(*rung("max_pool2d").forward(x, WINDOWS[0]), 3, 3, WINDOWS[0])
    rung("cross_entropy").backward(*rung("cross_entropy").forward(rows, rows), rows)
    rung("sgd").step(flat, flat, flat, 0.1, 0.9, False, 0.0, False)
    rung("reduce").total(flat)
    fallen = {name: count - before.get(name, 0) for name, count in kernels.fallbacks().items()}
    expected = {"conv2d": 2, "linear": 2, "max_pool2d": 2, "cross_entropy": 2, "sgd": 1, "reduce": 1}
    assert {name: count for name, count in fallen.items() if count} == expected


def test_sgd_changes_an_array_in_another_order_in_place(xp, random):
    parameter, grad = (xp.asarray(random.normal(size=(3, 4)).astype(np.float32)) for _ in range(2))
    turned, velocity = parameter.T, xp.zeros((4, 3), dtype=np.float32)
    before = to_numpy(parameter).copy()
    rung("sgd").step(turned, grad.T, velocity, 1.0, 0.0, False, 0.0, False)
    np.testing.assert_allclose(to_numpy(parameter), before - to_numpy(grad), rtol=1e-6)


# In a network


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_gpu_array_goes_to_these_kernels_where_they_are_asked_for(gpu, operation):
    with kernels.using("numba"):
        assert kernels.get(operation, gpu.zeros(1)) is rung(operation)
    assert kernels.get(operation, gpu.zeros(1)) is not rung(operation)


def test_a_network_trains_on_these_kernels(xp, random):
    images, labels = random.normal(size=(2, 1, 6, 6)), np.array([2, 0])
    shapes = [(3, 1, 3, 3), (3,), (3,), (4, 27), (4,)]
    start = [random.normal(size=shape) for shape in shapes]

    def trained(module: Any, dtype: str, choice: str) -> list[Any]:
        x = Tensor(module.asarray(images, dtype=dtype))
        parameters = [Tensor(module.asarray(array, dtype=dtype), requires_grad=True) for array in start]
        weight, gamma, beta, dense, bias = parameters
        optimizer = optim.SGD(parameters, 0.1, momentum=0.9)
        mean, var = module.zeros(3, dtype=dtype), module.ones(3, dtype=dtype)
        with kernels.using(choice):
            for _ in range(2):
                y = F.conv_block(x, weight, mean, var, gamma, beta, True, padding=1, pool=2)
                F.cross_entropy(F.linear(F.flatten(y, 1), dense, bias), module.asarray(labels)).backward()
                optimizer.step()
                optimizer.zero_grad()
        return [to_numpy(parameter.data) for parameter in parameters]

    for got, want in zip(trained(xp, "float32", "numba"), trained(np, "float64", "reference"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


# Compiled


def launches(xp: Any) -> list[tuple[Callable[..., None], tuple[Any, ...]]]:
    """Every kernel with the types that its rung launches it with; nothing runs."""
    found: dict[tuple[Callable[..., None], tuple[Any, ...]], None] = {}

    def note(kernel: Callable[..., None], grid: Any, block: Any, arguments: Any) -> None:
        arrays = [value for value in arguments if isinstance(value, xp.ndarray)]
        assert all(array.flags.c_contiguous for array in arrays), "one order of memory, one compilation"
        types = (typeof(np.empty(v.shape, v.dtype) if isinstance(v, xp.ndarray) else v) for v in arguments)
        found[kernel, tuple(types)] = None

    numba_launch.use(note)
    make = partial(xp.zeros, dtype=np.float32)
    x, rows = make((2, 2, 4, 4)), make((3, 20))
    for channels in (1, 2):
        weight = make((2, channels, 3, 3))
        rung("conv2d").forward(x[:, :channels], weight, None, WINDOWS[0], 1)
        rung("conv2d").backward(x, x[:, :channels], weight, WINDOWS[0], 1)
    rung("linear").backward(make((3, 5)), rows, make((5, 20)))
    rung("reduce").total(x)
    rung("max_pool2d").backward(*rung("max_pool2d").forward(x, WINDOWS[0]), 4, 4, WINDOWS[0])
    rung("cross_entropy").backward(*rung("cross_entropy").forward(rows, rows), rows)
    rung("sgd").step(x, x, x, 0.1, 0.9, True, 0.01, False)
    numba_launch.use(None)
    return list(found)


def all_kernels() -> set[Callable[..., None]]:
    return {
        function
        for operation in OPERATIONS
        for name, function in inspect.getmembers(rung(operation), inspect.isfunction)
        if name.endswith("_kernel")
    }


def test_every_rung_is_looked_at_here():
    assert {path.parent.name for path in KERNELS.glob("*/cuda_numba.py")} == set(OPERATIONS)


def test_every_kernel_is_launched_with_one_kind_of_arguments(gpu):
    found = [kernel for kernel, _ in launches(gpu)]
    assert len(found) == len(set(found))
    assert set(found) == all_kernels()


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids=str)
def test_every_kernel_compiles_and_computes_in_float32_alone(gpu, capability, monkeypatch):
    monkeypatch.setattr(np, "row_stack", np.vstack, raising=False)  # numba-cuda 0.30 asks for it, NumPy 2.5 has it not
    for kernel, types in launches(gpu):
        ptx, _ = cuda.compile_ptx(kernel, types, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx
        assert re.findall(r"\S+\.f64", ptx) == [], kernel.__name__


# The seam


def test_on_a_gpu_a_kernel_is_compiled_once_and_launched_on_cupy_s_stream_without_waiting(monkeypatch):
    class Array: ...

    def kernel(x: Any, count: int) -> None: ...

    compiled, launched, array = [], [], Array()
    cupy = SimpleNamespace(ndarray=Array, cuda=SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=42)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda, "external_stream", lambda pointer: f"stream {pointer}")
    monkeypatch.setattr(cuda, "as_cuda_array", lambda value, sync: (value, sync))

    class Compiled:
        def __getitem__(self, configuration: Any) -> Any:
            return lambda *arguments: launched.append((configuration, arguments))

    monkeypatch.setattr(cuda, "jit", lambda function: (compiled.append(function), Compiled())[1])
    numba_launch.launch(kernel, (2, 3), (4,), array, 5)
    numba_launch.launch(kernel, (1,), (4,), array, 6)
    assert compiled == [kernel]
    assert launched == [
        (((2, 3), (4,), "stream 42"), ((array, False), 5)),
        (((1,), (4,), "stream 42"), ((array, False), 6)),
    ]


def test_an_empty_grid_is_not_launched():
    numba_launch.use(lambda *_: pytest.fail("launched"))
    numba_launch.launch(lambda: None, (0, 3), (4,))
    numba_launch.use(None)


def test_a_recorded_step_holds_no_numba_kernel(monkeypatch):
    monkeypatch.setattr(recording, "_active", object())
    with pytest.raises(RuntimeError, match="Numba kernels cannot be recorded"):
        numba_launch.launch(lambda: None, (1,), (1,))
