"""The GPU report, on the stand-in: its parts run, are written down as they are done, and fail one by one."""

import json
import re
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minicnn import device
from minicnn.apps.bench.gpu import checks, machine, parts, programs, report, speed
from minicnn.apps.bench.gpu.freshness import freshness
from minicnn.apps.bench.kernel_cases import Shape
from minicnn.errors import DeviceError
from minicnn.kernels import precision
from minicnn.kernels._gpu import numba_launch
from minicnn.kernels._gpu import tiles as _gpu_tiles
from minicnn.kernels._gpu.sources import all_sources
from tests.emulator.simulator import Simulator
from tests.programs import minicnn

TINY = parts.Sizes(peak_side=8, peak_megabytes=1, curve_steps=2, batch=2, epoch_images=16, epochs=1, rounds=1, steps=1)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.usefixtures("gpu")
def test_every_probe_is_right_in_every_precision_and_does_not_move() -> None:
    found = checks.compare_with_float64(lambda _: None)
    assert {row["precision"] for row in found} == set(precision.CHOICES)
    assert len({row["probe"] for row in found}) == 2 * len(list(checks.probes()))
    for row in found:
        assert not row["moved"], row
        assert row["right"], row


@pytest.mark.usefixtures("gpu")
def test_the_probes_run_the_kernels_for_large_images_and_wide_layers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, chosen = set(), []
    for name in ("for_windows", "for_neighborhoods", "for_weight_gradient"):
        choose = getattr(_gpu_tiles, name)
        monkeypatch.setattr(_gpu_tiles, name, lambda *a, c=choose: (chosen.append(c(*a)), chosen[-1])[1])
    wide = [probe for probe in checks.probes() if "conv2d" in probe[0]]
    monkeypatch.setattr(checks, "probes", lambda: iter(wide))
    monkeypatch.setattr(checks, "_RUNS", 1)
    monkeypatch.setattr(precision, "CHOICES", ("bfloat16",))  # all products choose by it alone
    checks.compare_with_float64(lambda _: None)
    tiles = {(tile[0] if type(tile) is tuple else tile).name for tile in chosen if tile is not None}
    assert tiles == {"tall", "square", "small", "wide"}


@pytest.mark.usefixtures("gpu")
def test_a_probe_that_raises_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a wrong fragment")

    _, kind, function, shapes = next(checks.probes())
    monkeypatch.setattr(
        checks, "probes", lambda: iter([("broken", kind, broken, shapes), ("linear", kind, function, shapes)])
    )
    monkeypatch.setattr(checks, "_both_ways", _unless_broken(checks._both_ways))
    found = checks.compare_with_float64(lambda _: None)
    assert {row["failed"] for row in found if row["probe"].startswith("broken")} == {"RuntimeError: a wrong fragment"}
    assert all(row["right"] for row in found if row["probe"].startswith("linear"))
    text = report.format_report({"gpu": {}, "probes": found})
    assert "probes: 6 of 12 right" in text
    assert "broken in float32: RuntimeError: a wrong fragment" in text


def _unless_broken(both_ways: Any) -> Any:
    """On the CPU the broken probe has an answer, which is not looked at."""

    def unless(function: Any, inputs: Any, xp: Any, dtype: str) -> Any:
        return [] if function.__name__ == "broken" and xp is np else both_ways(function, inputs, xp, dtype)

    return unless


@pytest.mark.usefixtures("gpu")
def test_a_recorded_step_gives_the_bits_of_one_that_was_not() -> None:
    found = checks.recorded_beside_eager(layers=2, batch=2, steps=2)
    assert found["by_precision"] == dict.fromkeys(precision.CHOICES, True)
    assert found["same_bits"]


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
    found = report.bench_gpu(file, 9, said.append, TINY, parts.run_here)
    assert found["peaks"] == {"failed": "RuntimeError: a wrong fragment"}
    assert found["tests"] == {"left_out": "not in this test"}
    assert json.loads(file.read_text()) == found
    assert [line.split()[0] for line in said] == [name for name in found if name != "seconds"]
    text = report.format_report(found)
    assert "peaks: FAILED: RuntimeError: a wrong fragment" in text
    assert "tests: left out: not in this test" in text


@pytest.mark.usefixtures("gpu")
def test_what_there_is_no_time_for_is_left_out(tmp_path: Path, said: list[str]) -> None:
    found = report.bench_gpu(tmp_path / "report.json", 0.06, said.append, TINY, parts.run_here)
    assert "failed" not in found["gpu"], found["gpu"]
    assert all("left_out" in found[name] for name in found if name not in ("gpu", "seconds"))


def test_a_part_has_a_process_of_its_own_which_says_why_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    impossible = replace(TINY, peak_side="large")  # wherever there is a GPU, and where there is none
    assert re.match(r"\w+Error: ", parts.run_apart("peaks", impossible, 60)["failed"])
    assert parts.run_apart("gpu", TINY, 0.01) == {"failed": "it took more than 0 s"}
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert parts.run_apart("gpu", TINY, 60) == {"failed": "its process ended with code 1"}


def test_a_program_that_does_not_hear_ctrl_c_ends_in_time_all_the_same(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    started = time.monotonic()
    assert programs._run([sys.executable, "-c", script], 6, tmp_path)["code"] is None
    assert time.monotonic() - started < 10


def test_a_program_that_is_out_of_time_tells_what_it_found_until_then(tmp_path: Path) -> None:
    script = "import time\nprint('one passed', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('two')"
    found = programs._run([sys.executable, "-c", script], 7, tmp_path)
    assert (found["code"], found["tail"]) == (None, ["one passed", "two"])


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
    assert (found["code"], sorted(found["tail"])) == (1, ["one", "two"])
    assert programs._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5, tmp_path)["code"] is None


def test_without_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> None:
        raise DeviceError("device gpu: CuPy is not installed")

    monkeypatch.setattr(device, "_cupy", missing)
    result = minicnn("bench", "gpu", "--report", tmp_path / "report.json")
    assert (result.code, result.err) == (1, "minicnn: device gpu: CuPy is not installed\n")
    assert not list(tmp_path.iterdir())
