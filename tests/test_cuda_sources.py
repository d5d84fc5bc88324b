"""Every CUDA source compiles for real GPUs, where kernels stay in registers, and for the emulator without a warning."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from minicnn.kernels._gpu.sources import HEADERS, all_sources
from tests.emulator import build, nvrtc

ARCHITECTURES = ("sm_80", "sm_90")
"""The oldest GPUs that have all instructions, and those that are meant."""

REGISTERS = 1 << 16
"""Of a multiprocessor, shared by all threads of a block."""

PROBES = build.FileSource("probes", build.EMULATOR / "probes.cu")
"""It uses every function of device.h."""

SOURCES = [pytest.param(source, id=source.operation) for source in (*all_sources(), PROBES)]


@pytest.fixture(scope="module")
def compiled():
    """`compiled(source, architecture)`: its kernels; all sources are compiled side by side."""
    with ThreadPoolExecutor(2) as pool:
        waiting = {(s, a): pool.submit(nvrtc.compiled, s, a) for s in (*all_sources(), PROBES) for a in ARCHITECTURES}
        yield lambda source, architecture: waiting[source, architecture].result()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES)
def test_kernels_stay_in_registers_and_fit_a_multiprocessor(compiled, source, architecture):
    assert compiled(source, architecture)
    assert [kernel for kernel in compiled(source, architecture) if kernel.local_bytes] == []
    assert [kernel for kernel in compiled(source, architecture) if not _fits(kernel)] == []


def _fits(kernel):
    """Whether a block of as many threads as `__launch_bounds__` allows, or 1024, finds registers."""
    return kernel.registers * kernel.threads <= REGISTERS


@pytest.mark.parametrize("source", SOURCES)
def test_the_emulator_has_every_kernel(compiled, source):
    library = build.library(source).read_bytes()
    missing = [k.name for k in compiled(source, "sm_90") if f"{k.name}_launch\0".encode() not in library]
    assert missing == [], "MC_EXPORT is missing"


@pytest.mark.parametrize("source", SOURCES)
def test_the_emulator_compiles_it_without_a_warning(source):
    assert build.warnings(source) == ""


@pytest.mark.parametrize("source", SOURCES)
def test_it_includes_shared_headers_alone_and_has_no_ifdef(source):
    text = source.path.read_text()
    included = re.findall(r'#\s*include\s*["<](.*)[">]', text)
    assert included
    assert all((HEADERS / name).exists() for name in included)
    assert not re.search(r"#\s*(if|undef)", text)


MANY_VALUES = """
    float value[100];
    #pragma unroll
    for (int i = 0; i < 100; i++) value[i] = x[i * 1024 + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 100; i++) x[i * 1024 + threadIdx.x] = value[i] * value[(i + 37) % 100];
"""


def _kernel(tmp_path, bounds, text):
    path = tmp_path / "kernel.cu"
    path.write_text(f'#include "device.h"\nextern "C" __global__ void {bounds} k(float* x, int n) {{ {text} }}\n')
    (kernel,) = nvrtc.compiled(build.FileSource("kernel", path), "sm_90")
    return kernel


def test_spilled_registers_are_seen(tmp_path):
    assert _kernel(tmp_path, "__launch_bounds__(1024)", MANY_VALUES).local_bytes > 0


def test_an_array_that_is_not_in_registers_is_seen(tmp_path):
    text = "float a[200]; for (int i = 0; i < n; i++) a[i] = x[i]; x[0] = a[n / 2];"
    assert _kernel(tmp_path, "__launch_bounds__(128)", text).local_bytes == 800


def test_missing_launch_bounds_are_seen_where_they_matter(tmp_path):
    assert not _fits(_kernel(tmp_path, "", MANY_VALUES))
    assert _fits(_kernel(tmp_path, "__launch_bounds__(256)", MANY_VALUES))
    assert _fits(_kernel(tmp_path, "", "x[threadIdx.x] = n;"))


def test_the_first_error_of_the_compiler_is_told(tmp_path):
    with pytest.raises(build.CompileError, match=r"kernel.cu\(2\): error: identifier \"y\" is undefined"):
        _kernel(tmp_path, "", "y = 1;")
