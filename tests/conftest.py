"""What all tests share: the device, the dtype, fixed random numbers, and comparison with the reference kernels."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import settings

import minicnn
from minicnn import Tensor, inference, kernels, models, optim
from minicnn import functional as F
from minicnn.device import module_for, to_numpy
from minicnn.errors import DeviceError
from minicnn.kernels import arrays, parallel
from minicnn.kernels._gpu import driver
from tests.emulator import cupy_standin
from tests.emulator.driver import EmulatorDriver
from tests.programs import write_faces

Arrays = list[Any]

# the same few examples in every run; `HYPOTHESIS_PROFILE=thorough` looks for new ones, for as long as it takes
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=8)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A program that a script puts in the background ignores Ctrl-C, and so would every program that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """BLAS's threads wait by spinning: on a busy machine tiny products took eight times as long with two."""
    parallel.set_threads(1)


@pytest.fixture(autouse=True, scope="session")
def compiled_kernels(one_thread: None) -> None:
    """Compile the CPU kernels before a test looks at stderr, where a program says that it does."""
    model = models.build(2)
    with redirect_stderr(io.StringIO()):
        for make in (optim.SGD, optim.AdamW):
            loss = F.cross_entropy(model(Tensor(np.zeros((2, 1, 48, 48), np.float32))), np.zeros(2, np.int64))
            loss.backward()
            make(model.parameters(), 1e-3).step()
        with inference.frozen(model):
            model(Tensor(np.zeros((1, 1, 48, 48), np.float32)))


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test starts with the same random numbers in minicnn.rng."""
    minicnn.manual_seed(0)


def _is_real() -> bool:
    try:
        module_for("gpu")
    except DeviceError:
        return False
    return True


_REAL = _is_real()


@pytest.fixture(scope="session")
def emulator() -> EmulatorDriver | None:
    """The driver that runs CUDA kernels on the CPU; None where a GPU runs them."""
    return None if _REAL else EmulatorDriver()


@pytest.fixture
def emulated(emulator: EmulatorDriver | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """CuPy's stand-in over the emulator, for a test that looks into it."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_standin)
    monkeypatch.setattr(driver, "_driver", emulator or EmulatorDriver())
    return cupy_standin


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Any:
    """CuPy, for a test that needs a GPU: the real one where there is one, else its stand-in."""
    return module_for("gpu") if _REAL else request.getfixturevalue("emulated")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on a GPU where there is one: there, `pytest -m gpu` is that and nothing else."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if "gpu" in names or parameters.get("device") == "gpu":
            item.add_marker("gpu")


@pytest.fixture(params=["cpu", "gpu"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device."""
    if request.param == "gpu":
        request.getfixturevalue("gpu")
    return str(request.param)


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Each dtype that a Tensor may have."""
    return str(request.param)


@pytest.fixture
def random() -> np.random.Generator:
    """Random numbers for inputs, the same in every run."""
    return np.random.default_rng(0)


class Make(Protocol):
    """How tests make Tensors."""

    def __call__(self, values: Any, requires_grad: bool = True) -> Tensor: ...


@pytest.fixture
def tensor(device: str, dtype: str) -> Make:
    """Makes Tensors that require a gradient; a test that uses it runs on every device in every dtype."""

    def make(values: Any, requires_grad: bool = True) -> Tensor:
        return Tensor(module_for(device).asarray(values, dtype=dtype), requires_grad)

    return make


TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""How far a rung may be from the float64 reference, as a share of the largest number in the array.

float32 carries 6e-8; the sums in these tests have up to a few hundred terms.
"""


@pytest.fixture
def use_rung(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`use_rung(operation, rung)`: serve an operation by that rung of its ladder until the test ends."""
    get = kernels.get

    def use(operation: str, rung: str) -> None:
        module = import_module(f"minicnn.kernels.{operation}.{rung}")
        monkeypatch.setattr(kernels, "get", lambda name, array=None: module if name == operation else get(name, array))

    return use


@pytest.fixture
def agrees_with_reference(
    dtype: str, use_rung: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Compares a rung with the reference rung, which computes in float64: output and gradients.

    `check(operation, rung, function, inputs)`, in both dtypes, with a batch in one piece and in many.
    """

    def both_ways(function: Callable[..., Tensor], inputs: Arrays) -> Arrays:
        minicnn.manual_seed(0)
        tensors = [Tensor(x, requires_grad=True) for x in inputs]
        y = function(*tensors)
        y.backward(np.random.default_rng(1).normal(size=y.shape).astype(y.dtype))
        return [y.data, *(x.grad for x in tensors)]

    def check(operation: str, rung: str, function: Callable[..., Tensor], inputs: Arrays) -> None:
        rounded = [np.asarray(x, dtype=dtype) for x in inputs]
        use_rung(operation, "reference")
        expected = both_ways(function, [x.astype("float64") for x in rounded])
        use_rung(operation, rung)
        for cache_bytes in (1 << 20, 1):
            monkeypatch.setattr(arrays, "CACHE_BYTES", cache_bytes)
            for got, want in zip(both_ways(function, rounded), expected, strict=True):
                assert got.dtype == dtype
                tolerance = TOLERANCE[dtype]
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())

    return check


@pytest.fixture
def any_number_of_threads() -> Iterator[Callable[[Callable[[], Iterable[Any]]], None]]:
    """`any_number_of_threads(compute)`: the arrays that `compute` gives are the same, bit for bit, with 1, 2 and 3."""

    def check(compute: Callable[[], Iterable[Any]]) -> None:
        expected = None
        for threads in (1, 2, 3):
            parallel.set_threads(threads)
            found = [array.copy() for array in compute()]
            expected = expected or found
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, want)

    yield check
    parallel.set_threads(1)


@pytest.fixture
def gradients() -> Callable[..., Arrays]:
    """`gradients(y, upstream, *tensors)`: goes backward from y and gives the Tensors' gradients as NumPy arrays."""

    def back(y: Tensor, upstream: Any, *tensors: Tensor) -> Arrays:
        xp = module_for(y.device)
        y.backward(xp.asarray(upstream, dtype=y.dtype).reshape(y.shape))
        return [to_numpy(x.grad) for x in tensors]

    return back


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 drawn faces to train on, as a CSV: enough for a few steps."""
    return write_faces(tmp_path_factory.mktemp("data") / "faces.csv", training=30)
