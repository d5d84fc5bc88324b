"""The checks of CUDA kernels notice the mistakes that people make in them, and accept the kernels as they are."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from minicnn.kernels._gpu import driver
from minicnn.kernels._gpu.sources import all_sources
from tests.emulator import build, cupy_standin
from tests.emulator.driver import ORDERS, EmulatorDriver, EmulatorError
from tests.emulator.kernel_checks import CHECKS
from tests.emulator.mutants import MUTANTS, Mutant


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """`planted(mutant)`: its source; all mutants are compiled side by side."""

    def compile_mutant(mutant, folder):
        source = mutant.plant(folder / "planted")
        build.library(source, build.FAST_TO_COMPILE)
        return source

    with ThreadPoolExecutor(2) as pool:
        waiting = {m: pool.submit(compile_mutant, m, tmp_path_factory.mktemp("mutant")) for m in MUTANTS}
        yield lambda mutant: waiting[mutant].result()


@pytest.fixture
def run_on(monkeypatch):
    """`run_on(order, planted)`: everything runs on an emulator with that order of threads from now on."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_standin)
    yield lambda order, planted=None: driver.use(EmulatorDriver(order, planted=planted))
    driver.use(None)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("operation", CHECKS)
def test_the_kernels_as_they_are_pass(operation, order, run_on):
    run_on(order)
    CHECKS[operation]()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.operation}, {m.file}: {m.name}")
def test_a_mistake_is_noticed(mutant, planted, run_on):
    source = planted(mutant)
    with pytest.raises((AssertionError, EmulatorError)):  # noqa: PT012 - in whichever order it shows
        for order in ORDERS:
            run_on(order, {mutant.operation: source})
            CHECKS[mutant.operation]()


def test_every_operation_with_cuda_sources_has_a_check_and_mistakes():
    operations = {source.operation for source in all_sources()}
    assert operations == set(CHECKS) == {mutant.operation for mutant in MUTANTS}


def test_there_are_at_least_16():
    assert len(MUTANTS) >= 16


def test_a_mistake_that_has_no_place_any_more_is_an_error(tmp_path):
    mutant = Mutant("reduce", "gone", "cuda.cu", "no such text", "")
    with pytest.raises(ValueError, match=r"gone: .no such text. is in cuda\.cu 0 times, not once"):
        mutant.plant(tmp_path / "planted")
