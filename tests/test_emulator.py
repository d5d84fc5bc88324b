"""The emulator of CUDA kernels sees their mistakes, and refuses what a GPU refuses."""

import subprocess
import sys

import numpy as np
import pytest

from tests.emulator import build
from tests.emulator.driver import ORDERS, EmulatorDriver, EmulatorError

PROBES = build.FileSource("probes", build.EMULATOR / "probes.cu")
FAULTY = build.FileSource("faulty", build.EMULATOR / "faulty.cu")


@pytest.fixture(params=ORDERS)
def emulator(request):
    """Each order of threads."""
    return EmulatorDriver(request.param)


def nan(*shape, dtype=np.float32):
    return np.full(shape, np.nan, dtype)


def filled(*shape, dtype):
    return np.full(shape, 77, dtype)


def test_a_barrier_makes_what_others_wrote_visible(emulator):
    assert _neighbors(emulator, PROBES, "neighbors")


def test_other_processors_hand_over_through_the_c_library(tmp_path):
    """What x86-64 does in assembly; in a process of its own, since one emulator is loaded already."""
    program = """
import ctypes, numpy as np
from tests.emulator import build, driver
runtime = build.runtime
build.runtime = lambda: runtime("-DCUEMU_UCONTEXT")
x, y = np.arange(64, dtype=np.int32), np.zeros(64, np.int32)
probes = build.FileSource("probes", build.EMULATOR / "probes.cu")
driver.EmulatorDriver("random").launch(probes, "neighbors", (1,), (64,), (x, y), 0)
assert (y == np.roll(x, -1)).all()
faulty = build.FileSource("faulty", build.EMULATOR / "faulty.cu")
try:
    driver.EmulatorDriver().launch(faulty, "writes", (1,), (64,), (y.view(np.float32), np.int32(9)), 0)
except driver.EmulatorError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=build.EMULATOR.parents[1]
    )
    assert "after the end of argument 0" in done.stdout, done.stderr


# Mistakes in kernels


def _run_faulty(emulator, kernel, *arguments, shared=0):
    emulator.launch(FAULTY, kernel, (1,), (64,), arguments, shared)


def _neighbors(emulator, source, kernel, partner=lambda i: (i + 1) % 64):
    """Whether each thread got its partner's number."""
    x, y = np.arange(64, dtype=np.int32) + 5, filled(64, dtype=np.int32)
    emulator.launch(source, kernel, (1,), (64,), (x, y), 0)
    return np.array_equal(y, x[partner(np.arange(64))])


def test_a_missing_barrier_gives_a_wrong_result_in_every_order(emulator):
    assert not _neighbors(emulator, FAULTY, "no_barrier")


def test_a_missing_barrier_within_a_warp_gives_a_wrong_result_in_every_order(emulator):
    assert not _neighbors(emulator, FAULTY, "no_barrier_within_a_warp", lambda i: i ^ 1)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("early_end", r"60 of 64 threads are at the barrier in faulty.cu:\d+, the others have ended"),
        ("two_barriers", r"threads wait at different barriers: faulty.cu:\d+ and faulty.cu:\d+"),
        ("not_named", r"__syncwarp at faulty.cu:\d+ is not for the lane that calls \(lanes 0x1\)"),
        ("matrices_of_half_a_warp", r"ldmatrix at faulty.cu:\d+ needs all 32 lanes of the warp"),
        (
            "matrix_at_an_odd_address",
            r"ldmatrix in faulty.cu:\d+ at a shared address that is not a multiple of 16 \(offset 8 of",
        ),
    ],
)
def test_divergence_is_an_error(emulator, kernel, message):
    with pytest.raises(EmulatorError, match=message):
        _run_faulty(emulator, kernel, shared=1024)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("half_a_warp", r"waits at faulty.cu:\d+ for lanes of its warp that do not come there"),
        ("two_places", r"lanes of a warp wait for each other in different places: faulty.cu:\d+ and faulty.cu:\d+"),
    ],
)
def test_lanes_that_do_not_meet_are_an_error(emulator, kernel, message):
    with pytest.raises(EmulatorError, match=message):
        _run_faulty(emulator, kernel, filled(64, dtype=np.int32))


def test_a_lane_that_ended_gives_no_number(emulator):
    y = filled(64, dtype=np.int32)
    _run_faulty(emulator, "lanes_that_ended", y)
    assert (y.reshape(2, 32)[:, :16] == -1).all()


def test_reading_before_the_wait_gives_nan_when_copies_land_late():
    y = filled(64, dtype=np.float32)
    _run_faulty(EmulatorDriver("forward"), "no_wait", np.ones(256, np.float32), y, shared=1024)
    assert np.isnan(y).all()


def test_waiting_for_too_few_groups_gives_nan_when_copies_land_late():
    y = filled(64, dtype=np.float32)
    _run_faulty(EmulatorDriver("forward"), "wait_for_the_wrong_group", np.ones(256, np.float32), y, shared=2048)
    assert np.isnan(y).all()


def test_copying_over_what_others_still_read_gives_a_wrong_result(emulator):
    x, y = np.repeat(np.arange(128, dtype=np.float32), 4), nan(64)
    _run_faulty(emulator, "copy_too_early", x, y, shared=1024)
    neighbor = (np.arange(64) + 1) % 64
    assert not np.array_equal(y, neighbor + 64 + neighbor)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("no_commit", "the thread ends with copies in flight"),
        (
            "copy_outside_of_shared",
            r"cp_async16 in faulty.cu:\d+ outside of shared memory \(offset \d+ of 1024 dynamic bytes\)",
        ),
        ("copy_from_an_odd_address", r"cp_async16 in faulty.cu:\d+ from an address that is not a multiple of 16"),
    ],
)
def test_a_copy_that_a_gpu_does_not_define_is_an_error(emulator, kernel, message):
    with pytest.raises(EmulatorError, match=message):
        _run_faulty(emulator, kernel, np.ones(256, np.float32), shared=1024)


def test_shared_memory_is_nan_at_the_start_of_each_block(emulator):
    still, dynamic = filled(64, dtype=np.float32), filled(64, dtype=np.float32)
    emulator.launch(FAULTY, "uninitialized", (3,), (64,), (still, dynamic), 256)
    assert np.isnan(still).all()
    assert np.isnan(dynamic).all()


def test_an_index_beyond_a_shared_array_is_an_error(emulator):
    with pytest.raises(EmulatorError, match=r"faulty.cu:\d+: index 64 is outside of the array"):
        _run_faulty(emulator, "beyond_shared", np.int32(1))


@pytest.mark.parametrize("first", [1, -1, 300, 5000])
def test_writing_beyond_dynamic_shared_memory_is_an_error(emulator, first):
    with pytest.raises(EmulatorError, match="bytes of dynamic shared memory"):
        _run_faulty(emulator, "beyond_dynamic", filled(64, dtype=np.float32), np.int32(first), shared=256)


@pytest.mark.parametrize(
    ("first", "message"), [(1, " 0 bytes after the end"), (-2000, "bytes before the start"), (9999, "after the end")]
)
def test_reading_beyond_an_array_is_an_error(emulator, first, message):
    with pytest.raises(EmulatorError, match=rf"access outside of every array,.*{message} of argument 0"):
        _run_faulty(emulator, "reads", np.ones(64, np.float32), nan(64), np.int32(first))


@pytest.mark.parametrize("first", [1, -1, -2000, 9999])
def test_writing_beyond_an_array_is_an_error(emulator, first):
    everything = filled(100, dtype=np.float32)
    with pytest.raises(EmulatorError, match="argument 0"):
        _run_faulty(emulator, "writes", everything[20:84], np.int32(first))
    assert (everything == 77).all()


def test_reading_just_before_an_array_gives_nan(emulator):
    y = filled(64, dtype=np.float32)
    _run_faulty(emulator, "reads", np.ones(64, np.float32), y, np.int32(-1))
    assert np.isnan(y[0])


@pytest.mark.parametrize(
    ("kernel", "arguments", "message"),
    [
        ("reads", (None, nan(64), np.int32(0)), "access through a null pointer"),
        ("four_at_once", (nan(300), nan(300)), r"faulty.cu:\d+: access at an address that is not a multiple of 16"),
        ("divides", (nan(64).view(np.int32), np.int32(0)), "an integer is divided by zero"),
        ("not_rounded", (np.full(64, 1 / 3, np.float32), nan(256)), "an operand is not what to_tf32 gives: 0.33333"),
        ("huge_local", (nan(64).view(np.int32), np.int32(64)), r"local variables of more than \d+ bytes"),
    ],
)
def test_a_fault_is_told_and_the_process_lives(emulator, kernel, arguments, message):
    with pytest.raises(EmulatorError, match=message):
        _run_faulty(emulator, kernel, *arguments)


def test_a_launch_after_a_fault_is_as_ever(emulator):
    with pytest.raises(EmulatorError, match="at the barrier"):
        _run_faulty(emulator, "early_end")
    assert _neighbors(emulator, PROBES, "neighbors")


@pytest.mark.parametrize("order", ORDERS[1:])
def test_two_blocks_that_add_to_one_place_are_an_error(order):
    message = r"two blocks write different numbers to one place, \d+ bytes into argument 0"
    with pytest.raises(EmulatorError, match=message):
        EmulatorDriver(order).launch(FAULTY, "all_add", (3,), (64,), (np.zeros(64, np.float32),), 0)


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_block_does_not_see_what_another_one_writes(order):
    y = np.zeros(4 * 64, np.float32)
    EmulatorDriver(order).launch(FAULTY, "needs_the_block_before", (3,), (64,), (y,), 0)
    np.testing.assert_array_equal(y.reshape(4, 64), np.array([[0], [1], [1], [1]]) * np.ones(64))


# Arguments


def test_arguments_arrive(random):
    to = nan(4, dtype=np.float64)
    given = (np.array([2.5], np.float32), np.int32(-3), np.int64(1 << 40), np.float32(0.5), to)
    EmulatorDriver().launch(PROBES, "arguments", (1,), (1,), given, 0)
    np.testing.assert_array_equal(to, [2.5, -3, 1 << 40, 0.5])


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (0, np.zeros(1), "argument 0: an array of float64 for a pointer to f4"),
        (0, np.zeros(1, np.int32), "argument 0: an array of int32 for a pointer to f4"),
        (0, np.float32(1), "argument 0: expected an array or None, got a float32"),
        (1, np.int64(1), "argument 1: int64 for a parameter of kind i4"),
        (1, 1, "argument 1: expected a NumPy scalar, got a int"),
        (1, np.zeros(1, np.int32), "argument 1: expected a NumPy scalar, got a ndarray"),
        (2, np.int32(1), "argument 2: int32 for a parameter of kind i8"),
        (3, np.float64(1), "argument 3: float64 for a parameter of kind f4"),
        (3, np.int32(1), "argument 3: int32 for a parameter of kind f4"),
        (4, np.broadcast_to(0.0, 4), "argument 4: a read-only array for a pointer that is not const"),
    ],
)
def test_an_argument_of_another_kind_is_an_error(place, wrong, message):
    arguments = [None, np.int32(1), np.int64(1), np.float32(1), np.zeros(4)]
    arguments[place] = wrong
    with pytest.raises(EmulatorError, match=message):
        EmulatorDriver().launch(PROBES, "arguments", (1,), (1,), arguments, 0)


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((0,), (32,), 0, r"grid \(0, 1, 1\)"),
        ((1, 65536), (32,), 0, r"grid \(1, 65536, 1\)"),
        ((1,), (0,), 0, r"block \(0, 1, 1\)"),
        ((1,), (33, 32), 0, "1056 threads in a block"),
        ((1,), (32,), 1 << 20, "1048576 bytes of shared memory"),
    ],
)
def test_a_launch_that_a_gpu_refuses_is_an_error(grid, block, shared, message):
    with pytest.raises(EmulatorError, match=message):
        EmulatorDriver().launch(PROBES, "positions", grid, block, (filled(1, dtype=np.int32),), shared)


def test_more_threads_than_the_launch_bounds_are_an_error():
    y = filled(128, dtype=np.int32)
    EmulatorDriver().launch(FAULTY, "bounded", (1,), (64,), (y,), 0)
    EmulatorDriver().launch(FAULTY, "unbounded", (1,), (128,), (y,), 0)
    with pytest.raises(EmulatorError, match="128 threads, where __launch_bounds__ allows 64"):
        EmulatorDriver().launch(FAULTY, "bounded", (1,), (128,), (y,), 0)


def test_a_wrong_number_of_arguments_is_an_error():
    with pytest.raises(EmulatorError, match="probes/neighbors: 1 arguments for 2 parameters"):
        EmulatorDriver().launch(PROBES, "neighbors", (1,), (64,), (None,), 0)


def test_a_kernel_that_is_not_there_is_an_error():
    with pytest.raises(EmulatorError, match=r"has no kernel nobody: is MC_EXPORT\(nobody\) missing"):
        EmulatorDriver().launch(PROBES, "nobody", (1,), (64,), (), 0)


def test_views_of_the_same_memory_stay_so(emulator):
    everything = np.arange(96, dtype=np.float32)
    emulator.launch(PROBES, "twice_plus", (1,), (64,), (everything[:64], everything[:64], np.float32(1)), 0)
    np.testing.assert_array_equal(everything, [*(2 * np.arange(64) + 1), *range(64, 96)])


@pytest.mark.parametrize("size", range(1016, 1033))
def test_an_argument_may_end_anywhere_in_a_page(size):
    x, y = np.arange(size, dtype=np.float32), nan(size)
    EmulatorDriver().launch(PROBES, "twice_plus", (1,), (64,), (x, y, np.float32(1)), 0)
    np.testing.assert_array_equal(y[:64], 2 * x[:64] + 1)


def test_an_argument_may_be_empty():
    x = np.zeros(0, np.float32)
    EmulatorDriver().launch(PROBES, "rounded", (1,), (64,), (x, x, x, x, np.int32(0)), 0)


# Captures


@pytest.fixture
def doubling():
    """A driver, an array, and a launch that doubles the array and adds one."""
    driver, x = EmulatorDriver(), np.arange(64, dtype=np.float32)
    return driver, x, lambda: driver.launch(PROBES, "twice_plus", (1,), (64,), (x, x, np.float32(1)), 0)


def test_a_captured_launch_runs_with_its_graph_alone(doubling):
    driver, x, launch = doubling
    graph = driver.capture(launch)
    np.testing.assert_array_equal(x, np.arange(64))
    for expected in (2 * np.arange(64) + 1, 4 * np.arange(64) + 3):
        graph.launch()
        np.testing.assert_array_equal(x, expected)


def test_what_is_recorded_runs_between_the_launches(doubling):
    driver, x, launch = doubling

    def work():
        assert driver.capturing
        launch()
        driver.record(lambda: np.multiply(x, 10, out=x))
        launch()

    graph = driver.capture(work)
    assert not driver.capturing
    graph.launch()
    np.testing.assert_array_equal(x, 2 * (10 * (2 * np.arange(64) + 1)) + 1)


@pytest.mark.parametrize(
    "action",
    [
        lambda driver: driver.synchronize(),
        lambda driver: driver.copy(np.zeros(1), np.zeros(1)),
        lambda driver: driver.capture(lambda: None),
        lambda driver: driver.capture(lambda: None).launch(),
    ],
    ids=["synchronize", "copy", "capture", "graph"],
)
def test_what_cannot_be_captured_is_an_error(action):
    driver = EmulatorDriver()
    with pytest.raises(RuntimeError, match="inside a captured step"):
        driver.capture(lambda: action(driver))
    assert not driver.capturing


def test_a_wrong_argument_is_seen_while_capturing():
    driver = EmulatorDriver()
    with pytest.raises(EmulatorError, match="1 arguments for 2 parameters"):
        driver.capture(lambda: driver.launch(PROBES, "neighbors", (1,), (64,), (None,), 0))


# Compiling


def test_the_first_error_of_the_compiler_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    source = tmp_path / "wrong.cu"
    source.write_text('#include "device.h"\nint x = "a";\n')
    with pytest.raises(build.CompileError, match=r"wrong.cu:2:\d+: error: invalid conversion"):
        build.library(build.FileSource("wrong", source))


def test_without_a_compiler_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.CompileError, match="needs g\\+\\+: on Debian, apt-get install g\\+\\+"):
        build.library(PROBES)


def test_atomics_do_not_compile(tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path))
    source = tmp_path / "atomic.cu"
    source.write_text('#include "device.h"\n__global__ void k(float* x) { atomicAdd(x, 1.f); }\n')
    with pytest.raises(build.CompileError, match="no atomics, whose sums depend on the order"):
        build.library(build.FileSource("atomic", source))


def test_the_gpu_is_the_smallest_that_is_supported():
    gpu = EmulatorDriver().gpu
    assert gpu.capability >= (8, 0)
    assert gpu.shared_bytes == 99 << 10
