"""Kernels beside the machine's peak: every ladder is timed, and the arithmetic of work, rates and shares."""

import functools
import json
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minicnn import kernels
from minicnn.apps.bench import kernels as bench
from minicnn.apps.bench import peaks
from minicnn.apps.bench.kernel_cases import CASES, FULL, TINY, Case, Shape
from minicnn.errors import UserError
from tests.programs import minicnn

SMALL = Shape(2, 2, 4, 8)


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 100 GFLOP/s and 10 GB/s, and the rungs that need no compiler."""
    monkeypatch.setattr(peaks, "matrix_product", lambda threads: 100.0)
    monkeypatch.setattr(peaks, "memory_copy", lambda threads: 10.0)
    monkeypatch.setattr(kernels, "LADDERS", {name: rungs[:2] for name, rungs in kernels.LADDERS.items()})


def run(*operations: str, rounds: int = 1) -> dict[str, Any]:
    return bench.bench_kernels(operations, threads=1, rounds=rounds, say=lambda _: None, full=SMALL)


def test_every_ladder_has_a_representative_call() -> None:
    assert list(CASES) == list(kernels.LADDERS)


@pytest.mark.usefixtures("peak")
def test_all_rungs_of_all_ladders_are_timed_where_none_is_named() -> None:
    result = run()
    assert {name: list(ladder) for name, ladder in result["rungs"].items()} == {
        name: kernels.rungs(name) for name in kernels.LADDERS
    }
    assert (result["peak_gflops"], result["peak_gbytes"], result["threads"]) == (100.0, 10.0, 1)
    for name, ladder in result["rungs"].items():
        for row in ladder.values():
            assert row["unit"] == ("GFLOP/s" if name.startswith(("conv", "linear")) else "GB/s")
            assert (row["backward"] is None) == (name in ("sgd", "adam", "augment"))
            for figures in filter(None, (row["forward"], row["backward"])):
                assert 0 < figures["min_ms"] <= figures["median_ms"]
                assert figures["rate"] > 0


@pytest.mark.usefixtures("peak")
def test_loops_run_on_a_tiny_shape_and_are_marked() -> None:
    ladder = run("dropout")["rungs"]["dropout"]
    assert {name: row["scaled"] for name, row in ladder.items()} == {"reference": True, "im2col": False}
    assert ladder["reference"]["shape"] == ladder["im2col"]["shape"] == "2 x 144"


def test_rungs_take_turns(peak: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    case = Case("", "GB/s", (1.0, 1.0), lambda rung: ran.append(rung.__name__.rpartition(".")[2]), lambda *_: None)
    monkeypatch.setitem(CASES, "dropout", lambda _: case)
    run("dropout", rounds=2)
    assert ran == ["reference", "im2col"] * 3  # once before the two rounds, to compile and make buffers


def test_times_are_scaled_by_the_work_and_rates_and_shares_are_of_the_fastest() -> None:
    def case(forward: float, backward: float) -> Case:
        return Case("", "GB/s", (forward, backward), lambda _: None, None)

    figures = bench._figures([(0.2, 0.5), (0.1, 0.7), (0.4, 0.6)], case(1e9, 2e9), case(3e9, 4e9), peak=40.0)
    assert figures == {
        "forward": {"min_ms": 300.0, "median_ms": 600.0, "rate": 10.0, "share": 0.25},
        "backward": {"min_ms": 1000.0, "median_ms": 1200.0, "rate": 4.0, "share": 0.1},
    }


def test_a_convolution_counts_two_operations_for_each_weight_under_each_pixel() -> None:
    forward = 2 * 128 * 128 * 24 * 24 * 64 * 9
    assert CASES["conv2d"](FULL).work == CASES["conv_block"](FULL).work == (forward, 2 * forward)


def test_memory_counts_what_must_be_read_and_written() -> None:
    image = 4 * 2 * 4 * 8 * 8
    assert CASES["max_pool2d"](SMALL).work == (image + image / 4 + image / 8,) * 2  # choices are of two bytes
    assert CASES["avg_pool2d"](SMALL).work == (image + image / 4,) * 2
    assert CASES["batch_norm"](SMALL).work == (3 * image, 5 * image)
    assert CASES["sgd"](SMALL).work == (5 * 4 * 32 * 144, 0)


_FUNCTIONS = ("forward", "backward", "step", "normalize", "total", "squares")


@pytest.mark.parametrize("operation", CASES)
def test_cases_are_in_float32(operation: str) -> None:
    """A rung that is given anything else would fall back, or compute twice as much."""
    seen: list[np.ndarray] = []

    def spy(*arguments: object) -> Any:
        seen.extend(array for array in arguments if isinstance(array, np.ndarray))
        return (np.zeros(1, np.float32),) * 3

    rung = cast(ModuleType, SimpleNamespace(**dict.fromkeys(_FUNCTIONS, spy)))
    rung.statistics = lambda x: spy(x)[:2]  # type: ignore[attr-defined]
    case = CASES[operation](TINY)
    saved = case.forward(rung)
    if case.backward is not None:
        case.backward(rung, saved)
    assert seen
    floats = {array.dtype for array in seen if array.dtype.kind == "f"}
    assert floats == {np.dtype("float32")}


def test_peaks_are_measured_and_blas_has_its_threads_back() -> None:
    def blas() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = blas()
    assert peaks.matrix_product(2, sizes=(64, 32)) > 0
    assert peaks.memory_copy(2, megabytes=1) > 0
    assert blas() == before


def test_an_unknown_operation_is_named() -> None:
    with pytest.raises(UserError, match=r"expected operations among conv2d, .*, got 'conv3d'"):
        run("conv3d")


@pytest.mark.usefixtures("peak")
def test_a_rung_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernels.LADDERS, "cross_entropy", ("reference", "cpu"))
    said = r"cross_entropy: cpu cannot be loaded \(No module named .*\): see `minicnn doctor`"
    with pytest.raises(UserError, match=said):
        run("cross_entropy")


@pytest.mark.usefixtures("peak")
def test_the_command_prints_the_ladder_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("bench", "kernels", "sgd", "cross_entropy", "--threads", 1, "--rounds", 1)
    for name in ("sgd", "cross_entropy"):
        monkeypatch.setitem(CASES, name, functools.partial(lambda case, _: case, CASES[name](SMALL)))
    result = minicnn(*arguments, "--json")
    assert result.code == 0
    assert list(json.loads(result.out)["rungs"]) == ["sgd", "cross_entropy"]
    assert result.err.splitlines() == ["measuring the machine's peaks", "sgd", "cross_entropy"]
    lines = minicnn(*arguments).out.splitlines()
    assert "measured: 100 GFLOP/s (matrix product), 10.0 GB/s (copy)" in lines
    first = lines.index("sgd: 32 x 144")
    assert lines[first + 1].split() == ["rung", "forward", "rate", "of", "peak", "backward", "rate", "of", "peak"]
    assert [line.split()[0] for line in lines[first + 2 : first + 4]] == ["reference", "im2col"]
