"""The doctor: what it finds, and a line with the fix for every problem."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import minicnn as package
from minicnn import kernels
from minicnn.apps import doctor, machine
from minicnn.data import fer2013, store
from minicnn.errors import UserError
from tests.programs import minicnn, write_faces


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without limits, an empty data folder, and a cache of its own."""
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(doctor, "QUOTA", tmp_path / "cpu.max")
    return tmp_path


def problem() -> str:
    """The one problem that is found."""
    (line,) = doctor.examine()["problems"]
    assert "\n" not in line
    return str(line)


def test_a_sound_machine_has_no_problem() -> None:
    assert doctor.examine()["problems"] == []


def test_findings_name_versions_processor_and_the_rung_of_every_operation() -> None:
    found = doctor.examine()
    assert found["versions"]["minicnn"] == package.__version__
    assert set(found["versions"]) == {"minicnn", "python", "numpy", "numba", "opencv", "cupy"}
    assert found["cpu"]["name"] == machine.cpu_name() != ""
    assert {"vectors", "micro-kernel"} <= set(found["cpu"])
    assert found["threads"] >= 1
    assert found["blas"][0]["version"]
    assert found["kernels"] == {operation: kernels.rungs(operation)[-1] for operation in kernels.LADDERS}


def test_json_is_the_findings_and_nothing_else() -> None:
    result = minicnn("doctor", "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    keys = ["versions", "cpu", "threads", "blas", "kernels", "cache", "data", "gpu", "problems"]
    assert list(document) == keys


def test_text_has_a_line_for_every_finding_and_every_problem(here: Path) -> None:
    doctor.QUOTA.write_text("50000 100000\n")
    result = minicnn("doctor")
    assert (result.code, result.err) == (0, "")
    names = [line.split()[0] for line in result.out.splitlines()]
    assert names == ["versions", "processor", "threads", "BLAS", "kernels", "cache", "data", "GPU", "problem"]
    assert f"data       {here / 'home'}: empty: minicnn data import PATH\n" in result.out


def test_text_groups_operations_by_their_rung() -> None:
    findings = doctor.examine() | {"kernels": {"conv2d": "cpu", "sgd": "im2col", "adam": "cpu"}}
    assert "kernels    cpu: conv2d, adam; im2col: sgd\n" in doctor.format_findings(findings)


# Problems


def test_without_numba_the_fix_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("minicnn.kernels._cpu", "numba", "llvmlite"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(kernels, "_cpu", raising=False)  # else the package would still have its modules
    for name in ("numba", "llvmlite"):
        monkeypatch.setitem(sys.modules, name, None)  # what Python does not find
    monkeypatch.setattr(kernels, "get", lambda _: doctor)
    line = problem()
    assert line.startswith("the compiled kernels cannot be loaded (")
    assert line.endswith("pip install numba")


def test_a_kernel_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: str) -> None:
        raise ImportError("Numba needs NumPy 2.4 or less")

    monkeypatch.setattr(kernels, "get", get)
    monkeypatch.setattr(kernels, "LADDERS", {"conv2d": ("reference",)})
    assert problem() == (
        "conv2d has no kernel (Numba needs NumPy 2.4 or less): pip install numba, or give --kernels im2col"
    )


def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minicnn.kernels._cpu.jit.cache_folder", lambda: None)
    assert problem() == "compiled kernels cannot be kept: set MINICNN_CACHE to a folder that can be written"
    assert "cache      none: every start compiles anew\n" in minicnn("doctor").out


def test_opencv_that_cannot_be_loaded_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def cv2() -> None:
        raise UserError("OpenCV cannot be imported (libGL.so.1): apt-get install libgl1")

    monkeypatch.setattr(doctor, "cv2", cv2)
    assert problem() == "OpenCV cannot be imported (libGL.so.1): apt-get install libgl1"
    assert doctor.examine()["versions"]["opencv"] is None


@pytest.mark.parametrize(
    ("quota", "cores", "line"),
    [
        ("150000 100000\n", 4, "this container may use 1.5 of its 4 cores: give --threads 1"),
        ("20000 100000\n", 4, "this container may use 0.2 of its 4 cores: give --threads 1"),
        ("300000 100000\n", 4, "this container may use 3 of its 4 cores: give --threads 3"),
    ],
)
def test_a_container_with_less_than_its_cores_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int, line: str
) -> None:
    doctor.QUOTA.write_text(quota)
    monkeypatch.setattr(doctor, "cores", lambda: cores)
    assert problem() == line


@pytest.mark.parametrize("quota", ["max 100000\n", "400000 100000\n", "nonsense"])
def test_a_container_that_may_use_all_its_cores_is_none(monkeypatch: pytest.MonkeyPatch, quota: str) -> None:
    doctor.QUOTA.write_text(quota)
    monkeypatch.setattr(doctor, "cores", lambda: 4)
    assert doctor.examine()["problems"] == []


def test_a_blas_that_cannot_be_held_to_a_thread_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [{"user_api": "openmp"}])
    assert problem().endswith("pip install numpy")


# Data


def test_imported_data_is_counted(here: Path) -> None:
    fer2013.import_path(write_faces(here / "faces.csv", training=63, public=21))
    data = doctor.examine()["data"]
    assert (data["folder"], sum(data["counts"]["train"].values())) == (str(here / "home"), 63)
    assert f"{here / 'home'}: FER2013, 84 images\n" in minicnn("doctor").out


def test_no_data_is_no_problem() -> None:
    found = doctor.examine()
    assert (found["data"]["counts"], found["problems"]) == (None, [])


def test_damaged_data_is_a_problem() -> None:
    store.folder().mkdir(parents=True)
    (store.folder() / "info.json").write_text("{")
    assert "damaged" in problem()
    assert problem().endswith("import again with `minicnn data import PATH`")


def test_a_data_folder_that_cannot_be_made_is_a_problem(here: Path) -> None:
    (here / "home").write_text("a file")
    assert problem() == f"data cannot be kept in {here / 'home'}: set MINICNN_DATA to a folder that can be written"


# The GPU


def test_no_gpu_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from minicnn.errors import DeviceError

    def none(_: str) -> None:
        raise DeviceError("device gpu: CuPy is not installed")

    monkeypatch.setattr(doctor, "module_for", none)
    found = doctor.examine()
    assert (found["gpu"], found["problems"]) == ("none: CuPy is not installed", [])


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"a GPU"})
    monkeypatch.setattr(doctor, "module_for", lambda _: SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    assert doctor.examine()["gpu"] == "a GPU"


# The processor's name


def test_the_processor_has_a_name_where_the_system_keeps_no_file_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert machine.cpu_name() == "arm64"
