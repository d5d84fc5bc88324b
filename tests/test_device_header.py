"""The functions of device.h do what it says of them: in the emulator, and on a GPU where there is one."""

import ml_dtypes
import numpy as np
import pytest

from minicnn.device import module_for
from minicnn.errors import DeviceError
from minicnn.kernels._gpu.driver import driver
from tests.emulator import build
from tests.emulator.driver import ORDERS, EmulatorDriver

PROBES = build.FileSource("probes", build.EMULATOR / "probes.cu")


def _machines():
    try:
        module_for("gpu")
    except DeviceError:
        return ORDERS
    return (*ORDERS, pytest.param("gpu", marks=pytest.mark.gpu))


@pytest.fixture(params=_machines())
def launch(request):
    """`launch(kernel, grid, block, arguments, shared)` runs a probe, in each order of threads, on NumPy arrays."""
    if request.param != "gpu":
        emulator = EmulatorDriver(request.param)
        return lambda *how, shared=0: emulator.launch(PROBES, *how, shared)
    return _on_gpu


def _on_gpu(kernel, grid, block, arguments, shared=0):
    cupy = module_for("gpu")
    given = [cupy.asarray(value) if isinstance(value, np.ndarray) else value for value in arguments]
    driver().launch(PROBES, kernel, grid, block, given, shared)
    for value, copy in zip(arguments, given, strict=True):
        if isinstance(value, np.ndarray):
            value[...] = copy.get()


def nan(*shape):
    return np.full(shape, np.nan, np.float32)


def filled(*shape, dtype):
    return np.full(shape, 77, dtype)


def bfloat16(x):
    """The 16 bits of numbers that are exact in bfloat16."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


def test_mma_bf16_is_a_product_of_matrices(launch, random):
    a, b = random.integers(-100, 100, (16, 16)), random.integers(-100, 100, (16, 8))  # exact in bfloat16
    c = nan(16, 8)
    launch("product_bf16", (1,), (32,), (bfloat16(a), bfloat16(b), c))
    np.testing.assert_array_equal(c, a @ b)


def test_mma_tf32_is_a_product_of_matrices(launch, random):
    a, b = (random.integers(-1000, 1000, shape).astype(np.float32) for shape in ((16, 8), (8, 8)))
    c = nan(16, 8)
    launch("product_tf32", (1,), (32,), (a, b, c))
    np.testing.assert_array_equal(c, a @ b)


def test_ldsm4_gives_each_lane_a_pair_of_each_matrix(launch):
    x, y = np.arange(4 * 64, dtype=np.uint16), filled(4 * 64, dtype=np.uint16)
    launch("matrices", (1,), (32,), (x, y), shared=512)
    np.testing.assert_array_equal(y, x)


def test_ldsm4t_transposes_each_matrix(launch):
    x, y = np.arange(4 * 64, dtype=np.uint16), filled(4, 8, 8, dtype=np.uint16)
    launch("matrices_transposed", (1,), (32,), (x, y), shared=512)
    np.testing.assert_array_equal(y, x.reshape(4, 8, 8).transpose(0, 2, 1))


def test_a_copy_that_is_not_wanted_writes_zeros_and_reads_nothing(launch):
    x, y = np.arange(3 * 64, dtype=np.uint16), filled(4 * 64, dtype=np.uint16)  # x has no fourth matrix
    launch("matrices_without_the_last", (1,), (32,), (x, y), shared=512)
    np.testing.assert_array_equal(y, np.append(x, np.zeros(64)))


def test_to_tf32_rounds_to_10_bits_of_mantissa_and_halves_away_from_zero(launch, random):
    x = _awkward_floats(random)
    mantissa, exponent = np.frexp(x.astype(np.float64))  # the mantissa is at least 1/2: 11 bits after the point
    expected = np.sign(mantissa) * np.floor(np.abs(mantissa) * 2048 + 0.5) / 2048 * 2.0**exponent
    np.testing.assert_array_equal(_rounded(launch, x)[0], expected.astype(np.float32))


def test_pack_bf16_rounds_to_7_bits_of_mantissa_and_halves_to_even(launch, random):
    x = _awkward_floats(random)
    expected = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    _, low, high = _rounded(launch, x)
    np.testing.assert_array_equal(low, expected)
    np.testing.assert_array_equal(high, expected)


def test_rounding_keeps_nan_and_infinity(launch):
    x = np.array([np.nan, -np.nan, np.inf, -np.inf], np.float32)
    for result in _rounded(launch, x):
        np.testing.assert_array_equal(result, x)


def _awkward_floats(random):
    """Of all sizes, with every pattern of the bits that rounding looks at."""
    x = random.normal(size=512) * 10.0 ** random.integers(-30, 30, 512)
    halfway = (1 + np.arange(4096) / 4096).astype(np.float32)
    return np.concatenate([x.astype(np.float32), halfway, -halfway])


def _rounded(launch, x):
    results = [np.full_like(x, 77) for _ in range(3)]
    launch("rounded", (-(-len(x) // 1024),), (1024,), (x, *results, np.int32(len(x))))
    return results


def test_lanes_exchange(launch, random):
    x = random.permutation(32).astype(np.float32)
    far, following, before, fifth = (nan(32) for _ in range(4))
    odd = filled(32, dtype=np.uint32)
    launch("exchanged", (1,), (32,), (x, far, following, before, fifth, odd))
    np.testing.assert_array_equal(far, x[::-1])
    np.testing.assert_array_equal(following, [*x[1:], x[31]])
    np.testing.assert_array_equal(before, [x[0], *x[:-1]])
    np.testing.assert_array_equal(fifth, [x[5]] * 32)
    np.testing.assert_array_equal(odd, [sum(1 << lane for lane in range(32) if x[lane] % 2)] * 32)


def test_every_thread_of_every_block_runs_once(launch):
    places = filled(2 * 3 * 4, 2 * 5 * 3, dtype=np.int32)
    launch("positions", (2, 3, 4), (2, 5, 3), (places,))
    np.testing.assert_array_equal(places, 1000 * np.arange(24)[:, None] + np.arange(30))
