"""What the machine can do at most, measured: a matrix product for arithmetic, a copy for memory."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_REPEATS = 5


def matrix_product(threads: int, sizes: tuple[int, ...] = (1024, 2048)) -> float:
    """The best GFLOP/s of float32 products of two square matrices, by NumPy's BLAS with so many threads."""
    from threadpoolctl import threadpool_limits

    random, best = np.random.default_rng(0), 0.0
    with threadpool_limits(threads, user_api="blas"):
        for size in sizes:
            a, b = (random.standard_normal((size, size), dtype=np.float32) for _ in range(2))
            out = np.empty_like(a)
            seconds = _fastest(lambda a=a, b=b, out=out: np.matmul(a, b, out=out))  # type: ignore[misc]
            best = max(best, 2 * size**3 / seconds / 1e9)
    return best


def memory_copy(threads: int, megabytes: int = 256) -> float:
    """The best GB/s, read and written, of a copy that no cache holds, by so many threads."""
    source = np.ones(megabytes * 250_000, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            for done in [pool.submit(np.copyto, to, of) for of, to in parts]:
                done.result()

        seconds = _fastest(copy)
    return 2 * source.nbytes / seconds / 1e9


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs, after one that does not count."""
    work()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
