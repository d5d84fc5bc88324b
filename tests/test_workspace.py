"""Reused memory: an array's memory is free for the next one when nobody holds the array, and not before."""

import gc

import numpy as np
import pytest

from minicnn.kernels._cpu import workspace

LARGE = (300, 1000)


@pytest.fixture(autouse=True)
def no_memory_left_over() -> None:
    gc.collect()
    workspace.release()


def test_an_array_has_the_shape_and_dtype_asked_for_and_starts_on_a_cache_line() -> None:
    for shape, dtype in ((LARGE, np.float32), (7, np.uint8), ((0, 3), np.float32), ((1 << 17,), np.uint8)):
        array = workspace.empty(shape, dtype)
        assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert workspace.empty(LARGE).ctypes.data % 64 == 0


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    array = workspace.empty(LARGE)
    address, view = array.ctypes.data, array[10:, ::2].T
    del array
    assert workspace.empty(LARGE).ctypes.data != address  # the view still holds it
    del view
    assert address in {a.ctypes.data for a in [workspace.empty(LARGE) for _ in range(2)]}


def test_arrays_that_live_at_one_time_do_not_share_memory() -> None:
    arrays = [workspace.empty(LARGE) for _ in range(4)]
    for number, array in enumerate(arrays):
        array[:] = number
    assert [float(array.mean()) for array in arrays] == [0, 1, 2, 3]


def test_nearly_equal_sizes_share_memory() -> None:
    address = workspace.empty((128, 1000)).ctypes.data
    assert workspace.empty((127, 1000)).ctypes.data == address


def test_released_memory_is_not_used_again() -> None:
    workspace.empty(LARGE)
    assert sum(map(len, workspace._idle.values())) == 1
    workspace.release()
    assert not workspace._idle
