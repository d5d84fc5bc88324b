"""What the GPU is, and what it can do at most."""

import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from minicnn.device import module_for
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels._gpu.sources import all_sources

_TURN = 0.02
"""Seconds that are timed together: a thousand times what a clock and a wait cost."""

_TURNS = 5

_LIBRARIES = ("minicnn-fer", "cupy-cuda13x", "cupy-cuda12x", "torch", "numpy")


def describe() -> dict[str, Any]:
    """Card, driver, libraries, and a hash of every kernel source: what the figures are true of."""
    cuda = module_for("gpu").cuda.runtime
    gpu = driver().gpu
    return {
        "name": gpu.name,
        "capability": ".".join(map(str, gpu.capability)),
        "multiprocessors": gpu.multiprocessors,
        "driver": cuda.driverGetVersion(),
        "runtime": cuda.runtimeGetVersion(),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "sources": {source.operation: source.digest() for source in all_sources()},
    }


def seconds(work: Callable[[], object]) -> float:
    """The median time of `work`, which asks the GPU for something and does not wait.

    Many are asked for before the GPU is waited for, so that the host's time shows only where it is the longer one.
    """
    work()
    count = 1
    times: list[float] = []
    while len(times) < _TURNS:
        driver().synchronize()
        started = time.perf_counter()
        for _ in range(count):
            work()
        driver().synchronize()
        elapsed = time.perf_counter() - started
        if elapsed < _TURN and not times:
            count *= 2
        else:
            times.append(elapsed / count)
    return statistics.median(times)


def peaks(side: int = 8192, megabytes: int = 4096) -> dict[str, float]:
    """TFLOP/s of the library's product of two square bfloat16 matrices, GB/s (read and written) of a copy."""
    from ml_dtypes import bfloat16

    xp = module_for("gpu")
    a, b = (xp.random.standard_normal((side, side), dtype=xp.float32).astype(bfloat16) for _ in range(2))
    product = seconds(lambda: a @ b)
    source = xp.ones(megabytes * 250_000, xp.float32)
    target = xp.empty_like(source)
    copy = seconds(lambda: xp.copyto(target, source))
    return {"bf16_tflops": 2 * side**3 / product / 1e12, "gbytes": 2 * source.nbytes / copy / 1e9}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
