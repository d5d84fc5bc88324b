"""Devices: "cpu" and "gpu", and the array module (NumPy or CuPy) that serves each."""

from types import ModuleType
from typing import Any, Literal

import numpy as np

from minicnn.errors import DeviceError
from minicnn.kernels.arrays import Array, array_module

Device = Literal["cpu", "gpu"]

__all__ = ["Array", "Device", "array_module", "as_device", "device_of", "module_for", "resolve", "to_numpy"]


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
    return array if device_of(array) == "cpu" else _cupy().asnumpy(array)


def _cupy() -> Any:
    """CuPy, imported when first asked for, so that `import minicnn` needs NumPy alone."""
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            "device gpu: CuPy is not installed: pip install 'minicnn-fer[gpu]', or use --device cpu"
        ) from error
    if not cupy.cuda.is_available():
        raise DeviceError("device gpu: CuPy finds no NVIDIA GPU or driver here: use --device cpu")
    return cupy
