"""The programs with --device gpu: the same files and figures, whichever device they were made on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn.apps.run_folder import RunFolder
from minicnn.checkpoint import load_weights
from tests.programs import Result, minicnn, write_faces

ARRAY_CODE = ("--kernels", "im2col")
"""Of the size of real faces: the emulator would take seconds a step."""

RUN = ("--layers", 2, "--batch-size", 16, "--epochs", 2, "--warmup", 0.5)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_faces(tmp_path / "faces.csv", training=40)


def train(data: Path, device: str, out: str, *more: object) -> Result:
    return minicnn("train", *RUN, "--data", data, "--device", device, *ARRAY_CODE, "--out", out, *more)


def weights(run: str) -> dict[str, np.ndarray]:
    return load_weights(RunFolder(run)["last.safetensors"])[0]


def test_a_run_gives_the_weights_of_the_cpu_to_rounding(data: Path) -> None:
    for device in ("cpu", "gpu"):
        assert train(data, device, device).code == 0
    for (name, on_cpu), on_gpu in zip(weights("cpu").items(), weights("gpu").values(), strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-3 * np.abs(on_cpu).max(), err_msg=name)


def test_a_run_is_measured_alike_on_both_devices(data: Path) -> None:
    train(data, "gpu", "run")
    found = [minicnn("eval", "run", "--split", "val", "--json", "--device", d, *ARRAY_CODE) for d in ("cpu", "gpu")]
    assert [result.code for result in found] == [0, 0]
    assert found[0].out == found[1].out


@pytest.mark.parametrize(("first", "second"), [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_run_that_was_stopped_resumes_on_the_other_device(data: Path, first: str, second: str) -> None:
    train(data, first, "run", "--time-limit", 1e-9)
    assert not RunFolder("run")["result.json"].exists()
    resumed = minicnn("train", "--resume", "run", "--device", second, *ARRAY_CODE, "--json")
    assert (resumed.code, RunFolder("run")["result.json"].exists()) == (0, True)


def test_precision_is_kept_in_the_runs_configuration_and_weights(data: Path) -> None:
    train(data, "gpu", "run", "--precision", "tf32", "--epochs", 1, "--warmup", 0)
    assert RunFolder("run").config().recipe.precision == "tf32"
    assert load_weights(RunFolder("run")["last.safetensors"])[1].recipe["precision"] == "tf32"


def test_a_precision_that_the_cpu_has_not_is_one_line_and_leaves_nothing(data: Path) -> None:
    result = train(data, "cpu", "run", "--precision", "bfloat16")
    assert result == (1, "", result.err)
    assert result.err.splitlines()[-1] == (
        "minicnn: precision bfloat16: needs a GPU: use --device gpu, or --precision float32"
    )
    assert not Path("run").exists()


def test_an_unknown_precision_is_wrong_usage(data: Path) -> None:
    result = train(data, "gpu", "run", "--precision", "float8")
    assert result.code == 2
    assert "'float8' is not one of 'float32', 'tf32', 'bfloat16'" in result.err
