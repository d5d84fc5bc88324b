"""The simulator of Numba CUDA: it does what a GPU does, and stops at the mistakes that a GPU would not tell of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numba import cuda, float32

from tests.emulator.simulator import ORDERS, KernelError, Simulator

WARP = 32
ALL = 0xFFFFFFFF
LANES = np.arange(WARP)


@pytest.fixture(params=ORDERS)
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`run(kernel, threads, *arguments, blocks=1)`, in each order of threads."""

    def launch(kernel: Callable[..., None], threads: int | Sequence[int], *arguments: Any, blocks: Any = 1) -> None:
        grid, block = ((size,) if isinstance(size, int) else size for size in (blocks, threads))
        Simulator(request.param).launch(kernel, grid, block, arguments)

    return launch


def numbers(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


# What a kernel can do


def test_every_thread_of_every_block_runs_once(run):
    def kernel(out):
        x, y, z = cuda.grid(3)
        out[z, y, x] += 1

    out = np.zeros((2, 6, 8), np.int64)
    run(kernel, (4, 3, 1), out, blocks=(2, 2, 2))
    np.testing.assert_array_equal(out, 1)


def test_indices_and_extents_are_those_of_the_launch(run):
    def kernel(out):
        i = cuda.grid(1)
        out[i, 0], out[i, 1], out[i, 2] = cuda.threadIdx.x, cuda.blockIdx.x, cuda.laneid
        out[i, 3], out[i, 4], out[i, 5] = cuda.blockDim.x, cuda.gridDim.x, cuda.gridsize(1)

    out = np.zeros((80, 6), np.int64)
    run(kernel, 40, out, blocks=2)
    expected = [(i % 40, i // 40, i % 40 % 32, 40, 2, 80) for i in range(80)]
    np.testing.assert_array_equal(out, expected)


def test_threads_of_a_block_exchange_numbers_through_shared_memory_and_a_barrier(run):
    def kernel(x, out):
        tile = cuda.shared.array(64, float32)
        i = cuda.threadIdx.x
        tile[i] = x[i]
        cuda.syncthreads()
        out[i] = tile[63 - i]

    out = np.zeros(64, np.float32)
    run(kernel, 64, numbers(64), out)
    np.testing.assert_array_equal(out, 63 - numbers(64))


def test_shared_arrays_are_apart_even_on_one_line_and_each_block_has_its_own(run):
    def kernel(out):
        a, b = cuda.shared.array(1, np.int32), cuda.shared.array(1, np.int32)
        a[0] = 2 * cuda.blockIdx.x
        b[0] = 2 * cuda.blockIdx.x + 1
        out[cuda.blockIdx.x, 0], out[cuda.blockIdx.x, 1] = a[0], b[0]

    out = np.zeros((2, 2), np.int32)
    run(kernel, 1, out, blocks=2)
    np.testing.assert_array_equal(out, [[0, 1], [2, 3]])


def test_local_memory_is_a_thread_s_own(run):
    def kernel(out):
        mine = cuda.local.array(2, np.float32)
        mine[1] = cuda.threadIdx.x
        cuda.syncthreads()
        out[cuda.threadIdx.x] = mine[1]

    out = np.zeros(8, np.float32)
    run(kernel, 8, out)
    np.testing.assert_array_equal(out, numbers(8))


@pytest.mark.parametrize(
    ("shuffle", "argument", "source"),
    [
        ("shfl_down_sync", 5, np.where(LANES + 5 < WARP, LANES + 5, LANES)),
        ("shfl_up_sync", 5, np.where(LANES >= 5, LANES - 5, LANES)),
        ("shfl_xor_sync", 6, LANES ^ 6),
        ("shfl_sync", 7, np.full(WARP, 7)),
    ],
)
def test_a_shuffle_reads_the_register_of_another_lane(run, shuffle, argument, source):
    def kernel(out):
        i = cuda.threadIdx.x
        out[i] = getattr(cuda, shuffle)(ALL, i, argument)

    out = np.zeros(64, np.int64)
    run(kernel, 64, out)
    np.testing.assert_array_equal(out, np.concatenate([source, source + WARP]))


def test_lanes_that_a_mask_leaves_out_may_be_elsewhere(run):
    def kernel(out):
        i = cuda.threadIdx.x
        if i < 16:
            out[i] = cuda.shfl_xor_sync(0xFFFF, i, 1)

    out = np.zeros(16, np.int64)
    run(kernel, 32, out)
    np.testing.assert_array_equal(out, np.arange(16) ^ 1)


def test_a_warp_barrier_is_enough_within_a_warp(run):
    run(_through_a_warp_barrier, 32, numbers(32), np.zeros(32, np.float32), 31)


def test_numbers_are_rounded_to_the_array_s_dtype(run):
    def kernel(out):
        out[0] = 1 / 3

    out = np.zeros(1, np.float32)
    run(kernel, 1, out)
    assert out[0] == np.float32(1 / 3)


def test_infinities_and_nan_warn_of_nothing(run):
    def kernel(x, out):
        out[0] = x[0] - x[0]

    out = np.zeros(1, np.float32)
    run(kernel, 1, np.full(1, np.inf, np.float32), out)
    assert np.isnan(out[0])


# Planted mistakes


def _through_a_warp_barrier(x, out, flip):
    tile = cuda.shared.array(64, np.float32)
    i = cuda.threadIdx.x
    tile[i] = x[i]
    cuda.syncwarp()
    out[i] = tile[i ^ flip]


def _no_barrier_before_reading(x, out):
    tile = cuda.shared.array(8, np.float32)
    i = cuda.threadIdx.x
    tile[i] = x[i]
    out[i] = tile[(i + 1) % 8]


def _no_barrier_before_writing_again(x, out):
    tile = cuda.shared.array(8, np.float32)
    i = cuda.threadIdx.x
    for first in range(0, 16, 8):
        tile[i] = x[first + i]
        cuda.syncthreads()
        out[first + i] = tile[7 - i]


def _two_blocks_add_to_one_element(x, out):
    out[0] += x[cuda.grid(1)]


def _no_bounds_test(x, out):
    i = cuda.grid(1)
    out[i] = x[i]


def _a_pixel_left_of_the_image(x, out):
    i = cuda.grid(1)
    out[i] = x[i - 1]


def _reads_what_nobody_has_written(x, out):
    tile = cuda.shared.array(8, np.float32)
    i = cuda.threadIdx.x
    if x[i] > 0:
        tile[i] = x[i]
    cuda.syncthreads()
    out[i] = tile[i]


def _adds_to_local_memory_that_was_not_cleared(x, out):
    sums = cuda.local.array(1, np.float32)
    sums[0] += x[cuda.threadIdx.x]
    out[cuda.threadIdx.x] = sums[0]


def _a_barrier_in_each_branch(x, out):
    i = cuda.threadIdx.x
    if i % 2:
        out[i] = x[i]
        cuda.syncthreads()
    else:
        cuda.syncthreads()
        out[i] = x[i]


def _leaves_before_the_barrier(x, out):
    i = cuda.threadIdx.x
    if i >= 6:
        return
    cuda.syncthreads()
    out[i] = x[i]


def _a_shuffle_after_lanes_have_left(x, out):
    i = cuda.threadIdx.x
    if i < 6:
        out[i] = cuda.shfl_down_sync(ALL, x[i], 1)


def _a_shuffle_some_lanes_of_which_wait_at_a_barrier(x, out):
    i = cuda.threadIdx.x
    if i < 6:
        out[i] = cuda.shfl_down_sync(0xFF, x[i], 1)
    cuda.syncthreads()


def _a_shuffle_from_a_lane_outside_of_the_mask(x, out):
    i = cuda.threadIdx.x
    if i < 4:
        out[i] = cuda.shfl_down_sync(0xF, x[i], 1)


def _a_shuffle_by_a_lane_outside_of_the_mask(x, out):
    i = cuda.threadIdx.x
    out[i] = cuda.shfl_xor_sync(0xF, x[i], 1)


def _too_few_indices(x, out):
    out[cuda.threadIdx.x] = cuda.shared.array((8, 8), np.float32)[0]


def _too_much_shared_memory(x, out):
    cuda.shared.array((128, 128), np.float32)


MISTAKES = [
    (_no_barrier_before_reading, 1, r"a race: thread .* (reads|writes) shared|before it is written"),
    (_no_barrier_before_writing_again, 1, r"a race: thread .* (reads|writes) shared memory of line \d+\[\d\]"),
    (_two_blocks_add_to_one_element, 2, r"a race: .* of block \d .* of block \d"),
    (_no_bounds_test, 3, r"index \d+ is outside of (x|out) of shape \(16,\)"),
    (_a_pixel_left_of_the_image, 1, r"index -1 is outside of x of shape \(16,\)"),
    (_reads_what_nobody_has_written, 1, r"reads shared memory of line \d+\[0\] before it is written"),
    (_adds_to_local_memory_that_was_not_cleared, 1, "reads local memory of line .* before it is written"),
    (_a_barrier_in_each_branch, 1, r"barriers diverge: threads wait at lines \[\d+, \d+\]"),
    (_leaves_before_the_barrier, 1, "2 of 8 threads left before the barrier at line"),
    (_a_shuffle_after_lanes_have_left, 1, r"lanes \[6, 7, .*\] of warp 0 have left, or never were"),
    (_a_shuffle_some_lanes_of_which_wait_at_a_barrier, 1, r"wait for each other for ever, at lines \[\d+, \d+\]"),
    (_a_shuffle_from_a_lane_outside_of_the_mask, 1, "lane 3 reads from lane 4, which takes no part"),
    (_a_shuffle_by_a_lane_outside_of_the_mask, 1, r"lanes \[4, 5, 6, 7\] are not in their own mask"),
    (_too_few_indices, 1, r"1 indices for shared memory .* of shape \(8, 8\)"),
    (_too_much_shared_memory, 1, "more than 49152 bytes of shared memory"),
]


@pytest.mark.parametrize(("kernel", "blocks", "says"), MISTAKES, ids=[kernel.__name__ for kernel, _, _ in MISTAKES])
def test_a_mistake_stops_the_kernel_in_every_order(run, kernel, blocks, says):
    with pytest.raises(KernelError, match=says):
        run(kernel, 8, numbers(16), np.zeros(16, np.float32), blocks=blocks)


def test_a_warp_barrier_orders_nothing_between_warps(run):
    with pytest.raises(KernelError, match=r"a race|before it is written"):
        run(_through_a_warp_barrier, 64, numbers(64), np.zeros(64, np.float32), 63)


@pytest.mark.parametrize("first", [8, 32])
def test_a_wrong_shuffle_distance_gives_a_wrong_sum(run, first):
    def kernel(x, out, first):
        total, distance = x[cuda.threadIdx.x], first
        while distance > 0:
            total += cuda.shfl_down_sync(ALL, total, distance)
            distance //= 2
        if cuda.laneid == 0:
            out[0] = total

    out = np.zeros(1, np.float32)
    run(kernel, WARP, numbers(WARP), out, 16)
    assert out[0] == numbers(WARP).sum()
    run(kernel, WARP, numbers(WARP), out, first)
    assert out[0] != numbers(WARP).sum()


@pytest.mark.parametrize(
    ("grid", "block"), [((0,), (1,)), ((1, 65536), (1,)), ((1,), (1025,)), ((1,), (32, 33)), ((1,), (1, 1, 65))]
)
def test_a_launch_that_no_gpu_takes_is_refused(grid, block):
    with pytest.raises(KernelError, match="no GPU has a"):
        Simulator().launch(lambda: None, grid, block, ())
