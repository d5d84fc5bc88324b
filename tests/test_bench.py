"""Benchmarks against a peer: the same work for both, turns, figures, and whoever does not run."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from minicnn import Tensor, inference, kernels, models, nn, optim, recipes
from minicnn.apps.bench import peer_worker, workers
from minicnn.apps.bench.job import Settings, make_network
from minicnn.apps.bench.network import describe_network, describe_optimizer
from minicnn.apps.bench.race import compare, figures, format_result, race
from minicnn.apps.bench.workers import TUNED_ALLOCATOR, Contestant
from minicnn.errors import UserError
from tests.programs import ROOT, minicnn

LOGITS = [[1.0, -2.0]]

STAND_IN = """
import json, os, sys
how = json.loads(sys.argv[1])
def say(value):
    print(json.dumps(value) if isinstance(value, dict) else value, flush=True)
def answer(question, value):
    value = how["instead"].get(question, value)
    if value == "die":
        sys.exit("out of memory")
    say(value)
answer("start", {"framework": f"{how['name']} 1.0", "network": "Sequential()"})
for line in sys.stdin:
    question, *steps = line.split()
    with open(how["diary"], "a") as diary:
        print(how["name"], line.strip(), file=diary)
    seconds = [100.0] + [how["seconds"]] * (int(steps[0]) - 1) if steps else []
    answer(question, {"seconds": seconds, "logits": how["logits"], "peak_mb": how["seconds"] * 1000})
"""
"""A worker that answers at once; its first step of every turn is slow."""


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Contestant]:
    """Makes contestants that take `seconds` a step; `run={...}` is answered to `run` instead, "die" ends it."""

    def make(name: str, side: str, seconds: float, scores: Any = LOGITS, **instead: Any) -> Contestant:
        how = {"name": name, "seconds": seconds, "diary": str(tmp_path / "diary")}
        how |= {"logits": scores, "instead": instead}
        return Contestant(name, side, [sys.executable, "-c", STAND_IN, json.dumps(how)], dict(os.environ))

    return make


def run(entered: list[Contestant], folder: Path, rounds: int = 2, steps: int = 3) -> dict[str, Any]:
    return race(entered, folder, batch_size=10, rounds=rounds, steps=steps, say=lambda _: None)


# The race


def test_they_take_turns_and_one_rests_while_the_other_runs(
    stand_in: Callable[..., Contestant], tmp_path: Path
) -> None:
    run([stand_in("ours", "ours", 0.1), stand_in("eager", "peer", 0.2)], tmp_path)
    diary = (tmp_path / "diary").read_text().splitlines()
    turns = [line for line in diary if line.endswith("run 4")]
    assert turns == ["ours run 4", "eager run 4"] * 2
    assert diary[:2] == ["ours logits", "ours run 2"]


def test_the_first_step_of_a_turn_does_not_count(stand_in: Callable[..., Contestant], tmp_path: Path) -> None:
    result = run([stand_in("ours", "ours", 0.1), stand_in("eager", "peer", 0.25)], tmp_path)
    assert result["modes"] == {
        "ours": {"min_ms": 100.0, "median_ms": 100.0, "images_per_second": 100.0, "peak_mb": 100.0},
        "eager": {"min_ms": 250.0, "median_ms": 250.0, "images_per_second": 40.0, "peak_mb": 250.0},
    }
    assert (result["ours"], result["peer"], result["ratio"]) == (100.0, 40.0, 2.5)
    assert result["frameworks"] == ["ours 1.0", "eager 1.0"]


def test_a_peer_that_computes_something_else_is_not_timed(stand_in: Callable[..., Contestant], tmp_path: Path) -> None:
    wrong = stand_in("compile", "peer", 0.01, scores=[[1.0, -2.1]])
    result = run([stand_in("ours", "ours", 0.1), stand_in("eager", "peer", 0.2), wrong], tmp_path)
    assert result["failed"] == {"compile": "its logits differ from ours by 0.05"}
    assert (result["same_logits"], result["peer_mode"], result["ratio"]) == (False, "eager", 2.0)
    assert "compile" not in result["modes"]
    assert "DIFFER" in format_result(result | SETTINGS)


@pytest.mark.parametrize("logits", [[[1.0]], [[float("nan"), -2.0]]])
def test_logits_of_another_shape_or_that_are_no_numbers_do_not_agree(
    stand_in: Callable[..., Contestant], tmp_path: Path, logits: object
) -> None:
    peers = [stand_in("eager", "peer", 0.2), stand_in("odd", "peer", 0.2, scores=logits)]
    assert "differ" in run([stand_in("ours", "ours", 0.1), *peers], tmp_path)["failed"]["odd"]


def test_logits_that_round_differently_agree(stand_in: Callable[..., Contestant], tmp_path: Path) -> None:
    peer = stand_in("eager", "peer", 0.2, scores=[[1.0, -2.0001]])
    result = run([stand_in("ours", "ours", 0.1), peer], tmp_path)
    assert result["same_logits"]
    assert result["logits_difference"] == pytest.approx(5e-5)


@pytest.mark.parametrize("question", ["start", "logits", "run"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "RuntimeError: no C++ compiler"}, "RuntimeError: no C++ compiler"),
        ("die", "the process ended with code 1: out of memory"),
        ("Segmentation", "expected an answer in JSON, got 'Segmentation'"),
    ],
)
def test_a_mode_that_does_not_run_is_named_with_the_reason_and_the_others_go_on(
    stand_in: Callable[..., Contestant], tmp_path: Path, question: str, answer: object, reason: str
) -> None:
    broken = stand_in("compile", "peer", 0.01, **{question: answer})
    result = run([stand_in("ours", "ours", 0.1), broken, stand_in("eager", "peer", 0.2)], tmp_path)
    assert result["failed"] == {"compile": reason}
    assert result["ratio"] == 2.0
    assert f"does not run: {reason}" in format_result(result | SETTINGS)


@pytest.mark.parametrize("side", ["ours", "peer"])
def test_a_race_of_one_is_an_error_with_the_reasons(
    stand_in: Callable[..., Contestant], tmp_path: Path, side: str
) -> None:
    broken = {side: {"start": {"error": "broken"}}}
    entered = [stand_in(name, name, 0.1, **broken.get(name, {})) for name in ("ours", "peer")]
    with pytest.raises(UserError, match=rf"^bench: broken \({side}\)$"):
        run(entered, tmp_path)
    assert "run 4" not in (tmp_path / "diary").read_text()


# The figures


def test_figures_are_the_minimum_and_the_median() -> None:
    assert figures([0.2, 0.1, 0.4], 128) == {"min_ms": 100.0, "median_ms": 200.0, "images_per_second": 640.0}


def test_ratios_are_to_the_best_mode_of_each_kind() -> None:
    times = {
        "ours": [0.1, 0.2, 0.3],
        "ours, 1 thread": [0.36],
        "eager": [0.3, 0.9, 1.0],
        "compile": [0.5, 0.6, 0.7],
        "eager, tuned allocator": [0.4, 0.4, 0.5],
    }
    sides = dict(zip(times, ["ours", "ours, 1 thread", "peer", "peer", "tuned peer"], strict=True))
    assert compare(times, sides, 12) == {
        "ours": 60.0,
        "peer": 20.0,
        "peer_mode": "compile",
        "ratio": 3.0,
        "ratio_min": 3.0,  # eager had the fastest step
        "peer_tuned": 30.0,
        "peer_tuned_mode": "eager, tuned allocator",
        "ratio_tuned": 2.0,
        "ratio_tuned_min": 4.0,
        "speedup_of_threads": 1.8,
        "speedup_of_threads_min": 3.6,
    }


def test_what_did_not_run_has_no_ratio() -> None:
    compared = compare({"ours": [0.1], "eager": [0.2]}, {"ours": "ours", "eager": "peer"}, 1)
    assert compared["ratio"] == 2.0
    nothing = ("peer_tuned", "peer_tuned_mode", "ratio_tuned", "ratio_tuned_min", "speedup_of_threads")
    assert [compared[key] for key in nothing] == [None] * 5


SETTINGS = {"what": "train", "preset": "bench", "layers": 4, "batch_size": 10, "threads": 2, "cpu": "a processor"} | {
    "rounds": 2,
    "steps": 3,
    "device": "cpu",
    "precision": "float32",
}


def test_text_shows_every_mode_and_both_ratios(stand_in: Callable[..., Contestant], tmp_path: Path) -> None:
    entered = [
        stand_in("ours", "ours", 0.1),
        stand_in("ours, 1 thread", "ours, 1 thread", 0.19),
        stand_in("eager", "peer", 0.3),
        stand_in("eager, tuned allocator", "tuned peer", 0.2),
    ]
    lines = format_result(run(entered, tmp_path) | SETTINGS).splitlines()
    assert [line.split()[-4:] for line in lines if line.startswith("eager ")] == [["300.00", "300.00", "33", "300"]]
    assert lines[-3].startswith("ours / best mode as installed, eager: 3.00 by medians, 3.00 by")
    assert lines[-2].startswith("ours / best mode with a tuned allocator, eager, tuned allocator: 2.00 by medians")
    assert lines[-1].startswith("2 threads / 1 thread: 1.90 by medians")


# Who takes part


def test_every_mode_of_the_peer_runs_as_installed_and_with_a_tuned_allocator(tmp_path: Path) -> None:
    entered = workers.contestants("torch", "python9", tmp_path, threads=3)
    modes = ["eager", "channels_last", "compile", "compile+channels_last"]
    assert [c.name for c in entered] == ["ours", "ours, 1 thread", *modes, *(f"{m}, tuned allocator" for m in modes)]
    assert [c.side for c in entered] == ["ours", "ours, 1 thread", *["peer"] * 4, *["tuned peer"] * 4]
    for contestant in entered[2:]:
        assert contestant.command[0] == "python9"
        assert contestant.command[2:] == [str(tmp_path), contestant.name.partition(",")[0], "3"]


def test_only_the_tuned_peers_environment_is_changed(tmp_path: Path) -> None:
    for contestant in workers.contestants("torch", sys.executable, tmp_path, threads=2):
        changed = {k for k, v in contestant.environment.items() if os.environ.get(k) != v} - {"PYTHONPATH"}
        assert changed == (set(TUNED_ALLOCATOR) if contestant.side == "tuned peer" else set())


def test_one_thread_is_not_compared_with_itself(tmp_path: Path) -> None:
    entered = workers.contestants("onnxruntime", sys.executable, tmp_path, threads=1)
    assert [c.name for c in entered] == ["ours", "onnxruntime", "onnxruntime, tuned allocator"]


def test_on_a_gpu_there_is_one_allocator_and_no_count_of_threads(tmp_path: Path) -> None:
    entered = workers.contestants("torch", sys.executable, tmp_path, threads=2, device="gpu")
    assert [c.name for c in entered] == ["ours", *workers.GPU_MODES["torch"]]
    assert [c.side for c in entered] == ["ours", *["peer"] * 3]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("infer", "--device", "gpu"), "bench: onnxruntime is a peer on the CPU alone: --against torch"),
        (
            ("train", "--precision", "tf32"),
            "bench: expected --precision float32 on the CPU, got tf32: use --device gpu",
        ),
        (("train", "--preset", "vgg"), "bench: preset vgg has 8 layers: use --layers 8"),
    ],
)
def test_a_benchmark_that_cannot_be_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    result = minicnn("bench", *arguments)
    assert (result.code, result.err.strip()) == (1, f"minicnn: {line}")


def test_a_gpus_steps_are_timed_together_after_the_first() -> None:
    events = []
    work = SimpleNamespace(on_gpu=True, step=lambda: events.append("step"), wait=lambda: events.append("wait"))
    assert len(peer_worker._timed(cast(Any, work), 4)) == 2
    assert events == ["step", "wait", "step", "step", "step", "wait"]


def test_a_peer_that_is_not_installed_is_one_line_that_says_what_to_install() -> None:
    with pytest.raises(UserError) as caught:
        workers.check_peer("no_such_peer", sys.executable)
    assert str(caught.value) == (
        f"{sys.executable} lacks no_such_peer: pip install no_such_peer, or name the Python that has it by "
        "--peer-python PATH"
    )


def script(path: Path, text: str) -> Path:
    """A program."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_without_pytorch_the_cpu_build_is_named_and_nothing_runs(tmp_path: Path) -> None:
    python = script(tmp_path / "python", "#!/bin/sh\necho torch\n")
    result = minicnn("bench", "train", "--peer-python", python)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"minicnn: {python} lacks torch: pip install torch --index-url https://download.pytorch.org/whl/cpu, or name "
        "the Python that has it by --peer-python PATH\n"
    )


@pytest.mark.parametrize(
    ("python", "reason"),
    [("nowhere/python", "cannot be run (No such file or directory)"), ("/bin/false", "expected a Python")],
)
def test_a_peers_python_that_is_none_is_one_line(python: str, reason: str) -> None:
    result = minicnn("bench", "infer", "--peer-python", python)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"minicnn: --peer-python {python}: {reason}")


# The same work


def settings(preset: str, layers: int) -> Settings:
    return Settings(preset, layers, batch_size=2, threads=1, against="torch", rounds=1, steps=1)


def rebuilt(network: list[dict[str, Any]], weights: dict[str, np.ndarray]) -> nn.Sequential:
    """What the peer's worker makes of a description, with minicnn's layers of the same names in place of torch's."""
    layers = []
    for described in json.loads(json.dumps(network)):
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in described["options"].items()}
        layer = getattr(nn, described["layer"])(**options)
        layer.load_state_dict({name: weights[key] for name, key in described["arrays"].items()})
        layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("layers", [3, 5, 8])
@pytest.mark.parametrize("preset", models.PRESETS)
def test_the_description_rebuilds_every_network_layer_by_layer(
    preset: str, layers: int, random: np.random.Generator
) -> None:
    model = make_network(settings(preset, layers))
    described = describe_network(model)
    assert not {layer["layer"] for layer in described} & {"ConvBlock", "Sequential"}
    assert [key for layer in described for key in layer["arrays"].values()] == list(model.state_dict())
    images = Tensor(random.normal(size=(2, 1, 48, 48)).astype("float32"))
    with kernels.using("im2col"):
        scores = []
        for network in (model, rebuilt(described, model.state_dict())):
            with inference.frozen(network):
                scores.append(network(images).numpy())
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4, atol=1e-5)


def test_a_layer_that_the_peer_cannot_build_is_named() -> None:
    with pytest.raises(UserError, match=r"layer 1 is Tanh\(\), which has no counterpart"):
        describe_network(nn.Sequential(nn.ReLU(), nn.Tanh()))


def test_the_peers_optimizer_is_that_of_the_preset() -> None:
    described = {
        preset: describe_optimizer(recipes.make_optimizer(recipes.preset(preset), models.build(4, preset)))
        for preset in models.PRESETS
    }
    assert described["bench"] == {
        "optimizer": "SGD",
        "optimizer_options": {"lr": 0.02, "momentum": 0.9, "nesterov": True},
        "weight_decay": 5e-4,
    }
    assert described["default"] == {
        "optimizer": "AdamW",
        "optimizer_options": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8},
        "weight_decay": 0.01,
    }
    assert described["paper"]["optimizer_options"] == {"lr": 0.01, "momentum": 0.0, "nesterov": False}


def test_an_optimizer_that_the_peer_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match="Adagrad has no counterpart"):
        describe_optimizer(optim.Adagrad(nn.Linear(1, 1).parameters()))


# From end to end

PEER = f"""#!{sys.executable}
import json, sys
sys.path.insert(0, {str(ROOT)!r})
if sys.argv[1] == "-c":  # the question whether the peer is installed
    sys.exit()
from pathlib import Path
import numpy as np
from minicnn import Tensor, inference, kernels
from tests.test_bench import rebuilt
kernels.choose("im2col")
folder, mode, threads = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
job = json.loads((folder / "job.json").read_text())
assert (job["what"], job["optimizer"], threads) == ("train", "AdamW", "1")
assert Path(sys.argv[1]).is_file()
print(json.dumps({{"framework": "stand-in", "network": "of tests"}}), flush=True)
if "compile" in mode:
    print(json.dumps({{"error": "no C++ compiler"}}), flush=True)
    sys.exit()
model = rebuilt(job["network"], np.load(folder / "weights.npz"))
for line in sys.stdin:
    if line.startswith("logits"):
        with inference.frozen(model):
            answer = {{"logits": model(Tensor(np.load(folder / "batch.npz")["images"])).numpy().tolist()}}
    else:
        answer = {{"seconds": [3600.0] * int(line.split()[1]), "peak_mb": None}}
    print(json.dumps(answer), flush=True)
"""
"""A Python with a slow peer in it, which builds what it is told to and cannot compile."""

KEYS = {"ours", "peer", "peer_mode", "peer_tuned", "peer_tuned_mode", "ratio", "ratio_min", "ratio_tuned"} | {
    "ratio_tuned_min",
    "speedup_of_threads",
    "speedup_of_threads_min",
    "same_logits",
    "logits_difference",
    "modes",
    "failed",
    "frameworks",
    "networks",
    "cpu",
    "system",
    "what",
    *Settings.__dataclass_fields__,
}

OURS = """
from minicnn import kernels
from minicnn.apps.bench import own_worker, peer_worker
kernels.choose("im2col")
peer_worker.serve(own_worker._start)
"""


@pytest.fixture
def ours_in_array_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our worker, but nothing has to be compiled."""
    own = workers._own

    def replaced(folder: Path, threads: int) -> tuple[list[str], dict[str, str]]:
        command, environment = own(folder, threads)
        return [sys.executable, "-c", OURS, *command[-3:]], environment

    monkeypatch.setattr(workers, "_own", replaced)


def test_our_worker_runs_as_a_module_and_says_what_it_lacks(tmp_path: Path) -> None:
    ours = workers.contestants("torch", sys.executable, tmp_path, threads=1)[0]
    with (
        workers.Worker(ours, tmp_path / "log") as worker,
        pytest.raises(workers.WorkerError, match=r"^FileNotFoundError: .*job\.json"),
    ):
        worker.ready()


SMALL = ("--preset", "default", "--layers", 2, "--batch-size", 2, "--threads", 1, "--rounds", 1, "--steps", 2)


@pytest.mark.usefixtures("ours_in_array_code")
def test_bench_train_races_our_training_against_a_peer_that_builds_our_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workers.PEER_MODES, "torch", ("eager", "compile"))  # two of four, to be quick
    python = script(tmp_path / "python", PEER)
    result = minicnn("bench", "train", *SMALL, "--peer-python", python, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert set(document) == KEYS
    assert document["same_logits"]
    assert set(document["modes"]) == {"ours", "eager", "eager, tuned allocator"}
    assert document["failed"] == dict.fromkeys(("compile", "compile, tuned allocator"), "no C++ compiler")
    assert document["ours"] > document["peer"] == round(2 / 3600, 1)
    assert document["ratio"] > 1
    assert document["networks"][0].startswith("Sequential(ConvBlock(1→32")
    assert "compile: no C++ compiler\n" in result.err
    assert "round 1 of 1\n" in result.err


@pytest.mark.usefixtures("ours_in_array_code")
def test_bench_infer_races_our_inference_against_onnx_runtime() -> None:
    result = minicnn("bench", "infer", *SMALL, "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert set(document) == KEYS
    assert (document["what"], document["against"], document["failed"]) == ("infer", "onnxruntime", {})
    assert document["same_logits"]
    assert document["logits_difference"] < 1e-4
    assert document["frameworks"][1].startswith("ONNX Runtime ")
    assert set(document["modes"]) == {"ours", "onnxruntime", "onnxruntime, tuned allocator"}
    for mode in document["modes"].values():
        assert 0 < mode["min_ms"] <= mode["median_ms"]
        assert mode["peak_mb"] > 10


def test_batches_of_one_are_timed_more_often_than_large_ones() -> None:
    from minicnn.apps.bench import infer

    assert infer.default_steps(1) == 400
    assert infer.default_steps(128) == 8
