"""Devices: "cpu" and "gpu", and the array module (NumPy or CuPy) that serves each."""

from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np

from minicnn.errors import DeviceError
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.arrays import Array, array_module

Device = Literal["cpu", "gpu"]

__all__ = [
    "Array", "Device", "array_module", "as_device", "check_precision", "device_of", "module_for", "resolve", "to_numpy",
]  # fmt: skip

_OLDEST = 80
"""The least compute capability that the CUDA kernels are written for: Ampere, the first with bfloat16."""


def device_of(array: Array) -> Device:
    """The device that an array lives on."""
    return "cpu" if isinstance(array, np.ndarray | np.generic) else "gpu"


def as_device(name: str) -> Device:
    """Check a device's name; raises ValueError for any but "cpu" and "gpu"."""
    if name == "cpu":
        return "cpu"
    if name == "gpu":
        return "gpu"
    raise ValueError(f'expected device "cpu" or "gpu", got {name!r}')


def module_for(device: Device) -> ModuleType:
    """NumPy for "cpu", CuPy for "gpu"; raises DeviceError where CuPy or a GPU is missing."""
    return np if device == "cpu" else _cupy()


def resolve(name: str) -> Device:
    """Turn "auto", "cpu" or "gpu" into a device: "auto" is the GPU where CuPy finds one, else the CPU."""
    if name != "auto":
        device = as_device(name)
        module_for(device)
        return device
    try:
        _cupy()
    except DeviceError:
        return "cpu"
    return "gpu"


def to_numpy(array: Array) -> Array:
    """The array in the computer's memory: itself on the CPU, a copy from the GPU."""
    return array if device_of(array) == "cpu" else array_module(array).asnumpy(array)


def check_precision(precision: str, device: Device) -> None:
    """Raise DeviceError for a precision that `device` does not compute in, or that lacks a package here."""
    if precision != "float32" and device == "cpu":
        raise DeviceError(f"precision {precision}: needs a GPU: use --device gpu, or --precision float32")
    if precision == "bfloat16":
        try:
            import ml_dtypes  # noqa: F401 - which teaches NumPy and CuPy the dtype
        except ImportError as error:
            raise DeviceError(
                "precision bfloat16: ml_dtypes is not installed: pip install ml_dtypes, or use tf32"
            ) from error


def _cupy() -> Any:
    """CuPy, imported when first asked for, so that `import minicnn` needs NumPy alone."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise DeviceError(
            "device gpu: CuPy is not installed: pip install 'cupy-cuda13x[ctk]' ml_dtypes (CUDA 12: "
            "'cupy-cuda12x[ctk]'), or use --device cpu"
        ) from error
    except ImportError as error:
        raise DeviceError(f"device gpu: CuPy does not load ({_first_line(error)}): use --device cpu") from error
    _check(cupy)
    driver().join()  # programs ask from several threads
    return cupy


@cache  # an exception is not kept: it comes again
def _check(cupy: ModuleType) -> None:
    if not cupy.cuda.is_available():
        raise DeviceError("device gpu: CuPy finds no NVIDIA GPU or driver here: see nvidia-smi, or use --device cpu")
    capability = str(cupy.cuda.Device().compute_capability)
    if int(capability) < _OLDEST:
        raise DeviceError(
            f"device gpu: expected compute capability {_OLDEST / 10} or newer, this GPU has "
            f"{capability[:-1]}.{capability[-1]}: use --device cpu"
        )
    try:
        driver()  # before the first array is made: from here on all work goes to the driver's stream
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"device gpu: the GPU cannot be used ({_first_line(error)}): use --device cpu") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
