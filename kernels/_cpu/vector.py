"""What the CPU's vectors are like, and the shapes that follow from it."""

import functools
import os
import platform

import llvmlite.binding as llvm

PANEL = 32
"""Channels that lie together in memory: the width of a panel of every packed matrix."""


@functools.cache
def width() -> int:
    """float32 numbers in a vector: 16 with AVX-512, 8 with AVX2, 4 with NEON and others; $MINICNN_VECTOR lowers it."""
    features = _features()
    if features.get("avx512f"):
        best = 16
    elif features.get("avx2") and features.get("fma"):
        best = 8
    else:
        best = 4
    return min(best, int(os.environ.get("MINICNN_VECTOR") or best))


def tile() -> tuple[int, int]:
    """Rows and vectors of results that the micro-kernel holds in registers (AVX2 has half as many of them)."""
    return {16: (12, 2), 8: (6, 2), 4: (6, 4)}[width()]


def pause() -> tuple[str, tuple[int, ...]] | None:
    """LLVM's name, and arguments, of the instruction by which a thread tells its core that it waits by spinning."""
    x86, arm = ("llvm.x86.sse2.pause", ()), ("llvm.aarch64.hint", (1,))
    return {"x86_64": x86, "AMD64": x86, "aarch64": arm, "arm64": arm}.get(platform.machine())


def describe() -> dict[str, str]:
    """The path that this machine takes, for `minicnn doctor` and for the key of the compile cache."""
    rows, vectors = tile()
    name = {16: "AVX-512", 8: "AVX2", 4: "128-bit vectors"}[width()]
    return {
        "cpu": f"{platform.machine()}, {llvm.get_host_cpu_name()}",
        "vectors": f"{name}: {width()} float32",
        "micro-kernel": f"{rows} x {vectors * width()}",
    }


@functools.cache
def _features() -> dict[str, bool]:
    return dict(llvm.get_host_cpu_features())
