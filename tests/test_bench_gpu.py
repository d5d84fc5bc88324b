"""The GPU report, on the stand-in: its parts run, are written down as they are done, and fail one by one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from minicnn import device
from minicnn.apps.bench.gpu import checks, machine, programs, report, speed
from minicnn.apps.bench.gpu.freshness import freshness
from minicnn.apps.bench.kernel_cases import Shape
from minicnn.errors import DeviceError
from minicnn.kernels import precision
from minicnn.kernels._gpu import numba_launch
from minicnn.kernels._gpu.sources import all_sources
from tests.emulator.simulator import Simulator
from tests.programs import minicnn

TINY = report.Sizes(peak_side=8, peak_megabytes=1, curve_steps=2, batch=2, epoch_images=16, epochs=1, rounds=1, steps=1)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.usefixtures("gpu")
def test_every_probe_is_right_in_every_precision_and_does_not_move() -> None:
    found = checks.compare_with_float64()
    assert {row["precision"] for row in found} == set(precision.CHOICES)
    assert len({row["probe"] for row in found}) == len(list(checks.probes()))
    for row in found:
        assert not row["moved"], row
        assert row["right"], row


@pytest.mark.usefixtures("gpu")
def test_a_recorded_step_gives_the_bits_of_one_that_was_not() -> None:
    assert checks.recorded_beside_eager(layers=2, batch=2, steps=2)["same_bits"]


@pytest.mark.usefixtures("gpu")
def test_the_losses_are_those_of_the_cpu() -> None:
    found = checks.loss_curve(layers=2, batch=2, steps=3)
    assert [len(curve) for curve in found["curves"].values()] == [3, 3, 3]
    assert found["first_differences"]["float32"] < 1e-4
    assert 0 < found["first_differences"]["bfloat16"] < 0.1


@pytest.mark.usefixtures("gpu")
def test_every_gpu_rung_of_every_ladder_is_timed(emulator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TURN", 0.0)
    monkeypatch.setattr(numba_launch, "_launcher", emulator and Simulator().launch)
    monkeypatch.setattr(machine, "_TURNS", 1)
    monkeypatch.setattr(speed, "SHAPE", Shape(1, 8, 8, 4, "gpu"))
    found = speed.time_kernels(1, lambda _: None)
    assert {name.split()[0] for name in found} == set(speed.CASES)
    assert {name.split()[2] for name in found if name.startswith("conv_block cuda ")} == set(precision.CHOICES)
    assert all(row["forward"]["ms"] > 0 for row in found.values())


def test_a_part_that_fails_is_in_the_report_and_the_others_go_on(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    for module, name in (
        (checks, "compare_with_float64"),
        (checks, "recorded_beside_eager"),
        (checks, "loss_curve"),
        (speed, "time_kernels"),
        (speed, "train_whole"),
        (speed, "beside_torch"),
        (programs, "run_tests"),
        (programs, "sanitize"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: {"left_out": "not in this test"})

    def broken(*_: object) -> None:
        raise RuntimeError("a wrong fragment")

    monkeypatch.setattr(machine, "peaks", broken)
    file = tmp_path / "report.json"
    found = report.bench_gpu(file, 9, said.append, TINY)
    assert found["peaks"] == {"failed": "RuntimeError: a wrong fragment"}
    assert found["tests"] == {"left_out": "not in this test"}
    assert json.loads(file.read_text()) == found
    assert [line.split()[0] for line in said] == [name for name in found if name != "seconds"]
    text = report.format_report(found)
    assert "peaks: FAILED: RuntimeError: a wrong fragment" in text
    assert "tests: left out: not in this test" in text


@pytest.mark.usefixtures("gpu")
def test_what_there_is_no_time_for_is_left_out(tmp_path: Path, said: list[str]) -> None:
    found = report.bench_gpu(tmp_path / "report.json", 0.01, said.append, TINY)
    assert "failed" not in found["gpu"], found["gpu"]
    assert all("left_out" in found[name] for name in found if name not in ("gpu", "seconds"))


def test_the_text_names_a_probe_that_is_wrong_or_moves() -> None:
    rows = [
        {"probe": "linear", "precision": "float32", "error": 1e-7, "right": True, "moved": False},
        {"probe": "linear", "precision": "tf32", "error": float("inf"), "right": False, "moved": False},
        {"probe": "conv2d 3x3", "precision": "bfloat16", "error": 1e-3, "right": True, "moved": True},
    ]
    lines = report.format_report({"gpu": {"name": "card"}, "probes": rows}).splitlines()
    assert lines[1:] == [
        "probes: 1 of 3 right",
        "  linear in tf32: error inf",
        "  conv2d 3x3 in bfloat16: error 1.0e-03, and it moves",
    ]


def test_changed_sources_are_named_against_the_newest_report(tmp_path: Path) -> None:
    def write(name: str, sources: dict[str, str]) -> None:
        (tmp_path / name).write_text(json.dumps({"gpu": {"sources": sources}}))

    assert freshness(tmp_path).endswith("has not run on hardware")
    now = {source.operation: source.digest() for source in all_sources()}
    write("2026-01-01-card.json", now)
    assert freshness(tmp_path) == "GPU: 2026-01-01-card.json is of the kernels as they are"
    write("2026-02-01-card.json", {**now, "conv2d": "another"})
    assert freshness(tmp_path) == "GPU: not verified on hardware since 2026-02-01-card.json: conv2d changed"
    (tmp_path / "2026-03-01-card.json").write_text("[]")
    assert freshness(tmp_path) == "GPU: 2026-03-01-card.json is no report of `minicnn bench gpu`"


def test_a_program_that_fails_shows_its_end(tmp_path: Path) -> None:
    found = programs._run([sys.executable, "-c", "print('one'); raise SystemExit('two')"], 60, tmp_path)
    assert (found["code"], found["last"], found["tail"]) == (1, "one", ["two", "one"])
    assert programs._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5, tmp_path)["code"] is None


def test_without_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise DeviceError("device gpu: CuPy is not installed")

    monkeypatch.setattr(device, "_cupy", missing)
    result = minicnn("bench", "gpu", "--report", tmp_path / "report.json")
    assert (result.code, result.err) == (1, "minicnn: device gpu: CuPy is not installed\n")
    assert not list(tmp_path.iterdir())
