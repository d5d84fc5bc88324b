"""Training on a GPU: the numbers of the CPU, whether steps are recorded or not, and hardly a word with the host."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn import Tensor, kernels, models, nn, rng, steps, training
from minicnn.data.dataset import CLASSES, Dataset, Split
from minicnn.data.synthetic import draw_faces
from minicnn.device import module_for
from minicnn.errors import DeviceError
from minicnn.recipes import Recipe
from minicnn.training import Trainer, TrainingError

State = tuple[dict[str, np.ndarray], dict[str, Any]]

CLOSE = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 1e-2}
"""How far a loss may be from the CPU's over 12 steps; measured in the emulator: 1e-7, 1.4e-3 and 2.5e-3."""


def faces(n: int, seed: int) -> Split:
    """Small ones, since every thread of every kernel is run one after the other."""
    images, labels = draw_faces(n, seed)
    return Split(np.ascontiguousarray(images[:, ::4, ::4]), labels)


SMALL = Dataset("faces", CLASSES, {"train": faces(20, 1), "val": faces(8, 2)}, "faces")  # batches of 8, 8 and 4
RECIPES = {
    "sgd": Recipe(layers=2, epochs=4, batch_size=8, optimizer="sgd", lr=0.01, contrast="keep"),
    "adamw": Recipe(layers=2, epochs=2, batch_size=8, lr=0.003, ema=0.9, clip=1.0, class_weights=True, crop=1),
    "mixup": Recipe(layers=2, epochs=2, batch_size=8, mixup=0.2, label_smoothing=0.1, erase=0.5),
}


def network(_layers: int, _preset: str, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvBlock(1, 8, pool=2), nn.ConvBlock(8, 8, pool=2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(72, classes)
    )


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "build", network)


def changed(name: str, **changes: Any) -> Recipe:
    return Recipe(**{**RECIPES[name].to_dict(), **changes})


def losses(trainer: Trainer) -> list[float]:
    """Of every step."""
    found: list[float] = []

    def on_step() -> None:
        trainer.settle()
        found.append((trainer.sums["loss"] - before[0]) / (trainer.sums["seen"] - before[1]))
        before[:] = trainer.sums["loss"], trainer.sums["seen"]

    before = [0.0, 0.0]
    trainer.fit(on_step, lambda row: before.__setitem__(slice(None), [0.0, 0.0]))
    return found


def bits(state: State) -> str:
    """All of a state but the times."""
    arrays, values = state
    times = ("seconds", "images_per_second")
    rows = [{name: value for name, value in row.items() if name not in times} for row in values["history"]]
    plain = values | {"history": rows, "sums": {**values["sums"], "seconds": 0}}
    return json.dumps([{name: array.tobytes().hex() for name, array in arrays.items()}, plain])


def end(trainer: Trainer) -> str:
    trainer.fit(lambda: None, lambda row: None)
    return bits(trainer.state())


def stop_after(trainer: Trainer, steps: int) -> None:
    left = iter(range(steps - 1, -1, -1))
    trainer.fit(lambda: setattr(trainer, "stopping", next(left) == 0), lambda row: None)


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_those_of_the_cpu(name: str, gpu: Any) -> None:
    trainer = Trainer(RECIPES[name], SMALL, "gpu")
    np.testing.assert_allclose(losses(trainer), losses(Trainer(RECIPES[name], SMALL, "cpu")), rtol=CLOSE["float32"])
    assert trainer.gpu_steps is not None
    assert trainer.gpu_steps.refused is None


def test_what_teachers_say_is_learned_as_on_the_cpu(gpu: Any) -> None:
    answers = np.random.default_rng(0).dirichlet(np.ones(7), 20).astype(np.float32)
    on_gpu = losses(Trainer(RECIPES["sgd"], SMALL, "gpu", answers))
    np.testing.assert_allclose(on_gpu, losses(Trainer(RECIPES["sgd"], SMALL, "cpu", answers)), rtol=CLOSE["float32"])


def test_the_rows_of_an_epoch_are_those_of_the_cpu(gpu: Any) -> None:
    rows: dict[str, list[dict[str, float]]] = {"cpu": [], "gpu": []}
    for device, into in rows.items():
        Trainer(RECIPES["sgd"], SMALL, device).fit(lambda: None, into.append)  # type: ignore[arg-type]
    for on_cpu, on_gpu in zip(rows["cpu"], rows["gpu"], strict=True):
        assert on_cpu.keys() == on_gpu.keys()
        for name in on_cpu.keys() - {"seconds", "images_per_second"}:
            assert on_gpu[name] == pytest.approx(on_cpu[name], rel=CLOSE["float32"])


@pytest.mark.parametrize("name", RECIPES)
def test_recorded_steps_give_the_bits_of_steps_in_python(name: str, gpu: Any) -> None:
    recorded = end(Trainer(RECIPES[name], SMALL, "gpu"))
    in_python = Trainer(RECIPES[name], SMALL, "gpu")
    assert in_python.gpu_steps is not None
    in_python.gpu_steps.refused = "for comparison"
    assert end(in_python) == recorded


def test_a_step_is_recorded_for_each_shape_of_a_batch_and_replayed_from_its_second_on(gpu: Any) -> None:
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    end(trainer)
    assert trainer.gpu_steps is not None
    assert trainer.gpu_steps.replayed == 4 * 3 - 2  # batches of 8, and the last ones of 4


def test_a_batch_in_other_arrays_than_the_recordings_is_refused(gpu: Any) -> None:
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    batch = next(trainer.loader.epoch(0))
    assert trainer.gpu_steps is not None
    trainer.gpu_steps(batch)
    with pytest.raises(ValueError, match="expected the same arrays for every batch of a shape"):
        trainer.gpu_steps(batch._replace(images=batch.images.copy()))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_stopped_training_goes_on_to_the_same_bits(steps: int, gpu: Any) -> None:
    stopped = Trainer(RECIPES["adamw"], SMALL, "gpu")
    stop_after(stopped, steps)
    state, resumed = stopped.state(), Trainer(RECIPES["adamw"], SMALL, "gpu")
    resumed.restore(*state)
    assert end(resumed) == end(Trainer(RECIPES["adamw"], SMALL, "gpu"))


@pytest.mark.parametrize(("first", "second"), [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_training_goes_on_on_the_other_device(first: Any, second: Any, gpu: Any) -> None:
    stopped = Trainer(RECIPES["adamw"], SMALL, first)
    stop_after(stopped, 4)
    state, resumed = stopped.state(), Trainer(RECIPES["adamw"], SMALL, second)
    resumed.restore(*state)
    end(resumed)
    never_moved = Trainer(RECIPES["adamw"], SMALL, first)
    end(never_moved)
    for (name, got), want in zip(resumed.state()[0].items(), never_moved.state()[0].values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max(), err_msg=name)


def test_nothing_comes_back_within_an_epoch_but_the_sums_now_and_then(
    emulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "READ_EVERY", 2)
    trainer = Trainer(changed("adamw", batch_size=4, epochs=2), SMALL, "gpu")
    reads: list[int] = []
    trainer.fit(lambda: reads.append(emulated.traffic["reads"]), lambda row: None)
    within = np.diff(reads[5:])  # the second epoch: in the first, steps ran as Python, which checks its labels
    assert within.tolist() == [0, 1, 0, 1]  # after the first, the third and the last of five steps


def test_sums_are_brought_up_to_date_on_demand(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "READ_EVERY", 100)
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    stop_after(trainer, 2)
    assert trainer.sums["seen"] == 8
    trainer.settle()
    assert trainer.sums["seen"] == 16
    seconds = trainer.sums["seconds"]
    trainer.settle()
    assert trainer.sums["seconds"] == seconds


class Noise(nn.Module):
    """Adds random numbers of the host's, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        noise = rng.generator().standard_normal(x.shape, dtype=np.float32)
        return x + Tensor(module_for("gpu").asarray(noise))


def use_network(monkeypatch: pytest.MonkeyPatch, layer: nn.Module) -> None:
    monkeypatch.setattr(
        models,
        "build",
        lambda *_: nn.Sequential(nn.ConvBlock(1, 8, pool=2), layer, nn.Flatten(), nn.Linear(288, 7)),
    )


@pytest.fixture
def randomized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that cannot be recorded."""
    use_network(monkeypatch, Noise())


def test_random_slopes_are_drawn_anew_in_every_recorded_step(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_network(monkeypatch, nn.RReLU(0.0, 1.0))
    found = []
    for refused in (None, "for comparison"):
        trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
        assert trainer.gpu_steps is not None
        trainer.gpu_steps.refused = refused
        found.append(losses(trainer))
        assert trainer.gpu_steps.refused == refused
        assert (trainer.gpu_steps.replayed > 0) == (refused is None)
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_what_cannot_be_recorded_runs_as_python_and_says_why(randomized: None, emulated: Any) -> None:
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    end(trainer)
    assert trainer.gpu_steps is not None
    assert trainer.gpu_steps.replayed == 0
    assert trainer.gpu_steps.refused == "a copy from the computer's memory while a step is captured"


def test_an_attempt_that_fails_is_made_once_more(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt_at_first(work: Callable[[], None]) -> steps.Recording:
        attempts.append(work)
        if len(attempts) == 1:
            raise RuntimeError("a kernel was compiled meanwhile")
        return recording(work)

    attempts: list[Callable[[], None]] = []
    recording = steps.Recording
    monkeypatch.setattr(steps, "Recording", spoilt_at_first)
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    end(trainer)
    assert trainer.gpu_steps is not None
    assert (trainer.gpu_steps.refused, len(attempts), trainer.gpu_steps.replayed) == (None, 3, 4 * 3 - 3)


def test_an_attempt_to_record_draws_no_random_numbers(randomized: None, emulated: Any) -> None:
    states = []
    for refused in (None, "for comparison"):
        trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
        assert trainer.gpu_steps is not None
        trainer.gpu_steps.refused = refused
        states.append(end(trainer))
    assert states[0] == states[1]


def test_a_loss_that_is_no_number_is_noticed_at_the_next_look(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "READ_EVERY", 100)
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    with pytest.raises(TrainingError, match=r"epoch 1, by step 3: the loss is nan\. Try a lower --lr"):
        trainer.fit(lambda: next(trainer.model.parameters()).data.fill(np.nan), lambda row: None)


def test_a_state_with_such_a_loss_is_never_saved(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "READ_EVERY", 100)
    trainer = Trainer(RECIPES["sgd"], SMALL, "gpu")
    stop_after(trainer, 1)
    next(trainer.model.parameters()).data.fill(np.nan)
    trainer.stopping = False
    stop_after(trainer, 1)
    with pytest.raises(TrainingError, match="by step 2: the loss is nan"):
        trainer.state()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_too_little_memory_is_one_line(device: Any, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object) -> None:
        raise MemoryError("out of memory allocating 1,024 bytes")

    trainer = Trainer(RECIPES["sgd"], SMALL, device)
    monkeypatch.setattr(trainer.model, "forward", allocate)
    with pytest.raises(TrainingError) as raised:
        end(trainer)
    assert str(raised.value) == (f"batches of 8 images do not fit the {device}'s memory: use a smaller --batch-size")


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_in_another_precision_it_learns_nearly_the_same_and_weights_stay_float32(precision: str, gpu: Any) -> None:
    trainer = Trainer(changed("sgd", precision=precision), SMALL, "gpu")
    np.testing.assert_allclose(losses(trainer), losses(Trainer(RECIPES["sgd"], SMALL, "cpu")), rtol=CLOSE[precision])
    assert trainer.gpu_steps is not None
    assert trainer.gpu_steps.refused is None
    assert {str(array.dtype) for array in trainer.state()[0].values()} == {"float32"}
    assert kernels.precision.chosen() == "float32"


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_the_cpu_knows_float32_alone(precision: str) -> None:
    with pytest.raises(DeviceError) as raised:
        Trainer(changed("sgd", precision=precision), SMALL, "cpu")
    assert str(raised.value) == f"precision {precision}: needs a GPU: use --device gpu, or --precision float32"


def test_right_answers_are_counted_as_the_largest_scores_at_the_target(gpu: Any) -> None:
    from minicnn.steps import correct

    scores = gpu.asarray(np.array([[1, 3, 2], [0, 0, 1], [5, 4, np.nan], [-1, -3, -2]], np.float32))
    labels = gpu.asarray(np.array([1, 0, 0, 0]))
    assert float(correct(scores, labels)) == 2
    assert float(correct(scores, gpu.asarray(np.array([[0, 0.6, 0.4], [0.2, 0.5, 0.3]] * 2, np.float32)))) == 1
