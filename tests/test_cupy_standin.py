"""CuPy's stand-in has CuPy's manners, so that code which runs on it leaves the GPU nowhere in silence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.kernels._gpu.driver import driver
from tests.emulator import cupy_standin, standin_array

IN_SILENCE: dict[str, Callable[[Any], Any]] = {
    "np.asarray": lambda x: np.asarray(x),
    "a ufunc of NumPy": lambda x: np.add(x, x),
    "a function of NumPy": lambda x: np.sum(x),
    "a NumPy array beside it": lambda x: x + np.ones(2),
    "a NumPy array before it": lambda x: np.ones(2) + x,
    "a NumPy array into it": lambda x: x.__iadd__(np.ones(2)),
    "a NumPy array in a function": lambda x: cupy_standin.maximum(x, np.ones(2)),
}


@pytest.fixture
def x(emulated: Any) -> Any:
    return emulated.asarray(np.array([1.0, 2.0]))


@pytest.mark.parametrize("how", IN_SILENCE)
def test_it_never_meets_numpy_in_silence(how: str, x: Any) -> None:
    with pytest.raises(TypeError):
        IN_SILENCE[how](x)


def test_a_numpy_array_is_not_assigned(x: Any) -> None:
    with pytest.raises(ValueError, match="cannot be used for fill"):
        x[...] = np.ones(2)


def test_numbers_are_taken_in_and_keep_the_dtype(x: Any) -> None:
    y = 2 * x.astype("float32") + np.float32(1)
    assert (str(y.dtype), y.tolist()) == ("float32", [3, 5])


@pytest.mark.parametrize("value", [lambda x: x.sum(), lambda x: x[0], lambda x: x.reshape(2, 1)[0, 0] * 2])
def test_one_number_is_still_an_array(value: Callable[[Any], Any], x: Any) -> None:
    assert isinstance(value(x), cupy_standin.ndarray)
    assert value(x).shape == ()


@pytest.mark.parametrize("read", [float, int, bool, lambda v: v.item(), lambda v: v.get(), cupy_standin.asnumpy, repr])
def test_every_way_to_read_a_number_is_counted(read: Callable[[Any], Any], x: Any) -> None:
    before = cupy_standin.traffic["reads"]
    read(x[0])
    assert cupy_standin.traffic["reads"] == before + 1


def test_a_view_is_a_view(x: Any) -> None:
    x[1:][...] = 5
    x[0] += 2
    assert x.tolist() == [3, 5]


def test_index_arrays_wrap_around(x: Any) -> None:
    assert x[cupy_standin.asarray(np.array([2, -3, 5]))].tolist() == [1, 2, 2]


def test_an_index_outside_is_an_error(x: Any) -> None:
    with pytest.raises(IndexError):
        x[2]


def test_element_wise_results_are_in_c_order(emulated: Any) -> None:
    view = emulated.zeros((2, 3, 4)).transpose(0, 2, 1)
    assert (view + view).flags.c_contiguous
    assert view.astype("float32").strides == (48, 4, 16)


def test_bfloat16_is_a_dtype(x: Any) -> None:
    import ml_dtypes

    narrow = (x + 0.001).astype(ml_dtypes.bfloat16)
    assert (str(narrow.dtype), narrow.astype("float32").tolist()) == ("bfloat16", [1, 2])


def test_what_the_stand_in_offers_cupy_has_too() -> None:
    offered = {name for name, value in vars(cupy_standin).items() if not name.startswith("_")}
    own = {"Any", "Callable", "ModuleType", "Path", "SimpleNamespace", "builtins", "np", "names", "traffic"}
    own |= {"compute", "operand", "reduction", "refuse_while_capturing", "CUDARuntimeError", "OutOfMemoryError"}
    assert offered - own <= cupy_standin.names("cupy")
    methods = {name for name in vars(cupy_standin.ndarray) if not name.startswith("_")}
    assert methods <= cupy_standin.names("cupy.ndarray")
    assert set(vars(cupy_standin.cuda)) <= cupy_standin.names("cupy.cuda")


@pytest.mark.parametrize(("name", "why"), [("errstate", "CuPy has no such name"), ("fft", "does not have it yet")])
def test_any_other_name_says_whose_fault_it_is(name: str, why: str) -> None:
    with pytest.raises(AttributeError, match=why):
        getattr(cupy_standin, name)


def test_while_a_step_is_captured_results_are_poison(emulated: Any) -> None:
    x, made = emulated.zeros(2), []
    graph = driver().capture(lambda: made.append(x + 1))
    assert np.isnan(made[0].get()).all()
    graph.launch()
    assert made[0].tolist() == [1, 1]


def test_copies_to_the_gpu_are_counted(emulated: Any) -> None:
    before = standin_array.traffic["uploads"]
    emulated.asarray(np.ones(2)).set(np.zeros(2))
    assert standin_array.traffic["uploads"] == before + 2
