"""Files of a run that are damaged: what reads them says so, or answers exactly as before."""

import json
import shutil
from pathlib import Path
from random import Random

from minicnn.apps import train
from tests.faults import tiny
from tests.faults.tally import Tally
from tests.programs import Result, minicnn

FLIPPED = "bit flipped in a file of a run"
CUT = "file of a run cut off"


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Damage each file of a run that has ended, and of one that has not, at every hundredth of its length."""
    before = train._Run._write_report
    expected = tiny.straight(folder, tiny.RECIPES[0])
    done = Path(shutil.copytree(expected.folder, folder / "done"))
    begun = _begun(folder, expected)
    try:
        train._Run._write_report = lambda *_: None  # it takes longer than what is asked here
        for run in (done, begun):
            _damage_all(tally, run, expected, random, share)
    finally:
        train._Run._write_report = before


def _begun(folder: Path, expected: tiny.Straight) -> Path:
    """A run whose power failed in its last step."""
    run, left = folder / "begun", [12]

    class PowerError(BaseException):
        pass

    step = train.TrainingBar.step

    def fail(bar: train.TrainingBar) -> None:
        step(bar)
        left[0] -= 1
        if left[0] == 0:
            raise PowerError

    train.TrainingBar.step, train.CHECKPOINT_SECONDS = fail, 0.0
    try:
        minicnn("train", "--data", tiny.faces(folder), *expected.options, *tiny.MACHINE, "--out", run)
    except PowerError:
        return run
    finally:
        train.TrainingBar.step, train.CHECKPOINT_SECONDS = step, 60.0
    raise AssertionError("it ended")


def _damage_all(tally: Tally, run: Path, expected: tiny.Straight, random: Random, share: float) -> None:
    before = _answers(run)
    for file in sorted(run.iterdir()):
        content = file.read_bytes()
        percents = random.sample(range(100), max(1, round(100 * share)))
        for percent in percents:
            place = len(content) * percent // 100
            flipped = bytearray(content)
            flipped[place] ^= 1 << random.randrange(8)
            for kind, damaged in ((FLIPPED, bytes(flipped)), (CUT, content[:place])):
                with tally.fault(kind, f"{run.name}/{file.name} at {percent} %"):
                    # which reads the best weights, and is not asked as often about the others
                    evaluate = file.name == "best.safetensors" or percent % 10 == 0
                    _damage(run, file.name, damaged, before, expected, evaluate)


def _damage(
    run: Path, name: str, content: bytes, before: tuple[Result, Result], expected: tiny.Straight, evaluate: bool
) -> None:
    copy = run.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    (copy / name).write_bytes(content)
    evaluated = _evaluate(copy) if evaluate else before[0]
    resumed = minicnn("train", "--resume", copy, "--json", *tiny.MACHINE)
    for result in (evaluated, resumed):
        assert "Traceback" not in result.err
        if result.code:
            lines = [line for line in result.err.splitlines() if not line.startswith("epoch ")]
            assert (result.code, result.out, len(lines)) == (1, "", 1), result
            assert lines[0].startswith("minicnn: "), result
    if evaluated.code == 0:
        assert evaluated.out == before[0].out, "eval answers something else"
    if resumed.code == 0:
        assert tiny.summary(resumed.out) == tiny.summary(before[1].out), "the summary is another one"
        if name != "metrics.csv" or run.name == "begun":
            _assert_same_weights(copy, expected, but=name if run.name == "done" else "")


def _assert_same_weights(run: Path, expected: tiny.Straight, but: str) -> None:
    """But for the damaged file of a run that has ended, which nothing writes again."""
    for file in ("last.safetensors", "best.safetensors"):
        if file != but:
            tiny.assert_same_arrays(run / file, expected.folder / file)
    assert tiny.metrics_without_times(run) == tiny.metrics_without_times(expected.folder)


def _evaluate(run: Path) -> Result:
    return minicnn("eval", run, "--json", *tiny.MACHINE)


def _answers(run: Path) -> tuple[Result, Result]:
    """What eval and resume say of a run that is whole."""
    copy = Path(shutil.copytree(run, run.with_name(f"{run.name}, whole")))
    answers = _evaluate(copy), minicnn("train", "--resume", copy, "--json", *tiny.MACHINE)
    assert [answer.code for answer in answers] == [0, 0], answers
    json.loads(answers[1].out)
    return answers
