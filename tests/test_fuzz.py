"""Every reader of bytes from outside reads thousands of damaged and hostile inputs: tests/fuzz says by what rule.

`make fuzz` reads a hundred thousand by each reader. What was found is in tests/test_hostile_files.py, by name, and of
cascades in tests/test_cascades.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from minicnn.errors import DataError
from tests.fuzz import harness
from tests.fuzz.harness import Outcome, Reader
from tests.fuzz.mutation import mutated
from tests.programs import ROOT, environment

INPUTS = 2000
ANSWERS_ALL = {"web_frame", "web_request"}
"""Readers that refuse by an answer."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What came of the inputs of all readers, in a process whose memory is bounded."""
    command = [sys.executable, "-m", "tests.fuzz", "--json", "--inputs", str(INPUTS)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    found = [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) == len(harness.names()), f"{found[-1:]} was the last: {done.stderr}"
    return {outcome.name: outcome for outcome in found}


@pytest.mark.parametrize("name", harness.names())
def test_a_reader_answers_or_refuses_whatever_it_is_given(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert outcome.fault == ""
    assert outcome.read + outcome.refused == INPUTS
    assert outcome.read > INPUTS / 50  # the inputs are not all nonsense
    assert outcome.refused > INPUTS / 50 or name in ANSWERS_ALL


def test_the_inputs_are_the_same_in_every_run() -> None:
    assert harness.reader("csv_file").make("csv_file", 0, 77) == harness.reader("csv_file").make("csv_file", 0, 77)
    assert harness.reader("csv_file").make("csv_file", 1, 77) != harness.reader("csv_file").make("csv_file", 0, 77)


def test_mistakes_change_most_files_and_leave_some_as_they_were() -> None:
    random, seed = Random(0), bytes(range(200))
    same = sum(mutated(random, [seed]) == seed for _ in range(1000))
    assert 50 < same < 700


# The harness finds what it is to find


def outcome_of(read: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Outcome:
    monkeypatch.setattr(harness, "reader", lambda _: Reader([b"whole"], read))  # type: ignore[arg-type]
    return harness.run("it", range(3), 0, tmp_path)


def test_an_error_that_is_not_promised_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcome = outcome_of(lambda data, folder: {}["key"], monkeypatch, tmp_path)
    assert "KeyError" in outcome.fault
    assert "python -m tests.fuzz it --seed 0 --only 0" in outcome.fault


def test_a_promised_error_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_data: bytes, _folder: Path) -> None:
        raise DataError("no")

    assert (outcome_of(refuse, monkeypatch, tmp_path).refused, outcome_of(refuse, monkeypatch, tmp_path).fault) == (
        3,
        "",
    )


def test_an_input_that_takes_too_long_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = iter(range(0, 100, 10))
    monkeypatch.setattr(harness.time, "process_time", lambda: next(clock))
    assert outcome_of(lambda data, folder: None, monkeypatch, tmp_path).fault.startswith("10.0 s")


def test_memory_beyond_the_bound_is_a_fault(tmp_path: Path) -> None:
    code = (
        "from tests.fuzz import harness; from pathlib import Path\n"
        "harness.reader = lambda _: harness.Reader([b''], lambda data, folder: bytearray(2 * harness.MEMORY))\n"
        "harness.limit_memory(); print(harness.run('it', range(1), 0, Path()).fault)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert "MemoryError" in done.stdout


# By several processes

PROGRAM = """
import os
from pathlib import Path
from tests.fuzz import harness, parallel

def read(data, folder):
    if data == b"2":
        {done}
    return data

parallel.SLICE, parallel.HANGING = 2, 0.5
harness.reader = lambda name: harness.Reader([b"0", b"1", b"2", b"3", b"4"], read)
if __name__ == "__main__":
    for outcome in parallel.outcomes(["it", "other"], range(5), 7, {jobs}):
        print(outcome.to_json())
"""
"""Each process runs it, but for its end."""


def shared_out(done: str, tmp_path: Path, jobs: int = 2) -> list[Outcome]:
    """What comes of two readers that do this where they are given their third input."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(done=done, jobs=jobs))
    ran = subprocess.run(
        [sys.executable, str(program)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [Outcome(**json.loads(line)) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_slices_of_a_reader_are_summed(jobs: int, tmp_path: Path) -> None:
    found = shared_out("from minicnn.errors import DataError; raise DataError('no')", tmp_path, jobs)
    assert [(outcome.name, outcome.read, outcome.refused) for outcome in found] == [("it", 4, 1), ("other", 4, 1)]
    assert [outcome.fault for outcome in found] == ["", ""]


def test_a_fault_ends_its_reader_alone(tmp_path: Path) -> None:
    found = shared_out("{}['key']", tmp_path)
    assert [outcome.name for outcome in found] == ["it", "other"]
    assert all("KeyError" in outcome.fault and "--seed 7 --only 2" in outcome.fault for outcome in found)


@pytest.mark.parametrize("done", ["os.abort()", "while True: pass"], ids=["crash", "loop"])
def test_an_input_that_kills_its_process_or_never_ends_is_named(done: str, tmp_path: Path) -> None:
    (outcome,) = shared_out(done, tmp_path, jobs=1)
    assert outcome.fault.splitlines() == [
        "a process died, or took 0.5 s, by one of",
        "python -m tests.fuzz --seed 7 --only 2 it",
    ]
