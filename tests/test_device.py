"""Devices: what is found, and one line for each thing that may be missing."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minicnn import device
from minicnn.device import check_precision, module_for, resolve, to_numpy
from minicnn.errors import DeviceError
from minicnn.kernels._gpu import driver


def cupy(monkeypatch: pytest.MonkeyPatch, available: bool = True, capability: str = "90") -> ModuleType:
    """A CuPy that only tells what is there."""
    module = ModuleType("cupy")
    module.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_available=lambda: available,
        Device=lambda: SimpleNamespace(compute_capability=capability),
        runtime=SimpleNamespace(CUDARuntimeError=type("CUDARuntimeError", (RuntimeError,), {})),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def why() -> str:
    """What is said of a GPU that cannot be used, where "auto" takes the CPU in silence."""
    assert resolve("auto") == "cpu"
    with pytest.raises(DeviceError) as raised:
        resolve("gpu")
    return str(raised.value)


def test_without_cupy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert why() == (
        "device gpu: CuPy is not installed: pip install 'cupy-cuda13x[ctk]' ml_dtypes (CUDA 12: "
        "'cupy-cuda12x[ctk]'), "
        "or use --device cpu"
    )


def test_a_cupy_that_does_not_load_is_told_from_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "cupy":
                raise ImportError("libnvrtc.so.13: cannot open shared object file\nand much more")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert why() == (
        "device gpu: CuPy does not load (libnvrtc.so.13: cannot open shared object file): use --device cpu"
    )


def test_without_a_driver_or_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy(monkeypatch, available=False)
    assert why() == "device gpu: CuPy finds no NVIDIA GPU or driver here: see nvidia-smi, or use --device cpu"


def test_a_gpu_that_is_too_old_is_named_by_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy(monkeypatch, capability="75")
    assert why() == "device gpu: expected compute capability 8.0 or newer, this GPU has 7.5: use --device cpu"


def test_a_gpu_that_is_taken_or_broken_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error: Any = cupy(monkeypatch).cuda.runtime.CUDARuntimeError

    def busy() -> None:
        raise error("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(device, "driver", busy)
    assert why() == (
        "device gpu: the GPU cannot be used (cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy or "
        "unavailable): use --device cpu"
    )


def test_auto_takes_the_gpu_where_there_is_one(gpu: Any) -> None:
    assert resolve("auto") == "gpu"
    assert module_for("gpu") is gpu


def test_the_driver_is_in_force_before_the_first_array(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    joined = SimpleNamespace(join=lambda: order.append("this thread joins"))
    monkeypatch.setattr(device, "driver", lambda: order.append("driver") or joined)
    cupy(monkeypatch)
    order.append(module_for("gpu").__name__)
    assert order == ["driver", "driver", "this thread joins", "cupy"]
    module_for("gpu")  # perhaps in another thread
    assert order[4:] == ["driver", "this thread joins"]
    assert driver._driver is None


def test_numbers_come_back_bit_for_bit(gpu: Any) -> None:
    x = np.array([1.5, np.nan, -0.0], np.float32)
    assert to_numpy(gpu.asarray(x)).tobytes() == x.tobytes()


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_only_a_gpu_computes_in_less_than_float32(precision: str) -> None:
    check_precision("float32", "cpu")
    check_precision(precision, "gpu")
    with pytest.raises(DeviceError, match=f"precision {precision}: needs a GPU: use --device gpu"):
        check_precision(precision, "cpu")


def test_bfloat16_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    check_precision("tf32", "gpu")
    with pytest.raises(DeviceError, match="ml_dtypes is not installed: pip install"):
        check_precision("bfloat16", "gpu")
