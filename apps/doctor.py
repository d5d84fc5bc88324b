"""What minicnn finds on this machine, and what is wrong with it: `minicnn doctor`."""

import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import minicnn
from minicnn import kernels
from minicnn.apps.machine import cores, cpu_name
from minicnn.data import fer2013, store
from minicnn.device import module_for
from minicnn.errors import DataError, DeviceError, UserError
from minicnn.opencv import cv2

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says how much of its processors a container may use: microseconds, of how many."""

_CUPY = ("cupy", "cupy-cuda12x", "cupy-cuda13x")


def examine() -> dict[str, Any]:
    """Versions, processor, threads, kernels, data and GPU; `problems` has a line, with the fix, for each."""
    problems: list[str] = []
    return {
        "versions": _versions(problems),
        "cpu": _cpu(problems),
        "threads": _threads(problems),
        "blas": _blas(problems),
        "kernels": _rungs(problems),
        "cache": _cache(problems),
        "data": _data(problems),
        "gpu": _gpu(),
        "problems": problems,
    }


def format_findings(findings: Mapping[str, Any]) -> str:
    """The same, for people."""
    data, cache = findings["data"], findings["cache"]
    images = sum(sum(counts.values()) for counts in data["counts"].values()) if data["counts"] else 0
    by_rung: dict[str, list[str]] = {}
    for operation, rung in findings["kernels"].items():
        by_rung.setdefault(rung, []).append(operation)
    rows = {
        "versions": ", ".join(f"{name} {version or 'missing'}" for name, version in findings["versions"].items()),
        "processor": "; ".join(f"{name} {value}" for name, value in findings["cpu"].items()),
        "threads": str(findings["threads"]),
        "BLAS": "; ".join(f"{b['name']} {b['version']} ({b['architecture']})" for b in findings["blas"]) or "none",
        "kernels": "; ".join(f"{rung}: {', '.join(operations)}" for rung, operations in by_rung.items()),
        "cache": cache or "none: every start compiles anew",
        "data": f"{data['folder']}: "
        + (f"FER2013, {images:,} images" if images else "empty: minicnn data import PATH"),
        "GPU": findings["gpu"],
    }
    lines = [f"{name:<10} {text}" for name, text in rows.items()]
    return "\n".join([*lines, *(f"problem    {line}" for line in findings["problems"])])


def _versions(problems: list[str]) -> dict[str, str | None]:
    opencv = None
    try:
        opencv = str(cv2().__version__)
    except UserError as error:
        problems.append(str(error))
    return {
        "minicnn": minicnn.__version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        "opencv": opencv,
        "cupy": next(filter(None, map(_version, _CUPY)), None),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu(problems: list[str]) -> dict[str, str]:
    """The processor, and the path that the compiled kernels take on it."""
    found = {"name": cpu_name()}
    try:
        from minicnn.kernels._cpu import vector
    except ImportError as error:
        problems.append(
            f"the compiled kernels cannot be loaded ({error}), which makes training slow: pip install numba"
        )
        return found
    return found | vector.describe()


def _threads(problems: list[str]) -> int:
    count = cores()
    try:
        allowed, period = QUOTA.read_text().split()
        quota = math.inf if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):  # no container, or another system
        quota = math.inf
    if quota < count:
        threads = max(1, math.floor(quota))
        problems.append(f"this container may use {quota:g} of its {count} cores: give --threads {threads}")
    return count


def _blas(problems: list[str]) -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    found = [
        {
            "name": library["internal_api"],
            "version": library["version"],
            "architecture": library.get("architecture", "unknown"),
            "threads": library["num_threads"],
        }
        for library in threadpool_info()
        if library["user_api"] == "blas"
    ]
    if not found:
        problems.append(
            "NumPy's BLAS is none that can be held to one thread; for NumPy with OpenBLAS: pip install numpy"
        )
    return found


def _rungs(problems: list[str]) -> dict[str, str]:
    """Which rung serves each operation."""
    found = {}
    for operation in kernels.LADDERS:
        try:
            found[operation] = kernels.get(operation).__name__.rpartition(".")[2]
        except ImportError as error:
            found[operation] = "none"
            problems.append(f"{operation} has no kernel ({error}): pip install numba, or give --kernels im2col")
    return found


def _cache(problems: list[str]) -> str | None:
    """Where compiled kernels are kept; None where they cannot be."""
    try:
        from minicnn.kernels._cpu.jit import cache_folder
    except ImportError:
        return None  # of which _cpu has spoken
    folder = cache_folder()
    if folder is None:
        problems.append("compiled kernels cannot be kept: set MINICNN_CACHE to a folder that can be written")
    return None if folder is None else str(folder)


def _data(problems: list[str]) -> dict[str, Any]:
    """The data folder, and what of FER2013 is in it."""
    folder, counts = store.data_home(), None
    try:
        counts = fer2013.info()["counts"] if fer2013.imported() else None
    except DataError as error:
        problems.append(str(error))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        problems.append(f"data cannot be kept in {folder}: set MINICNN_DATA to a folder that can be written")
    return {"folder": str(folder), "counts": counts}


def _gpu() -> str:
    """The GPU's name, or why there is none; which is no problem."""
    try:
        cupy = module_for("gpu")
    except DeviceError as error:
        return f"none: {str(error).removeprefix('device gpu: ')}"
    name: bytes = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode()
