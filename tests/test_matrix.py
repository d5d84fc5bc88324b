"""The matrix of Pythons: which ones are found, and when an environment is made."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import matrix
from tests.matrix import Job


def program(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)
    return path


def test_a_python_kept_by_pyenv_is_found_behind_a_name_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "python9.8", "echo not installed >&2; exit 127")
    program(tmp_path / "pyenv" / "versions" / "9.8.7" / "bin" / "python9.8", "echo 9.8 /the/python")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert matrix.interpreter("9.8") == "/the/python"
    assert matrix.interpreter("9.9") is None


def test_a_name_that_stands_for_another_version_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "python9.8", "echo 9.7 /the/python")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert matrix.interpreter("9.8") is None


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, none of which does anything."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        if "no-such-python" in command:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(matrix.subprocess, "run", run)
    return commands


def test_an_environment_is_made_anew_only_where_it_asks_for_something_else(
    tmp_path: Path, ran: list[list[str]]
) -> None:
    for constraints, made in (([], 2), ([], 0), (["numpy==2.0"], 2), (["numpy==2.0"], 0), ([], 2)):
        ran.clear()
        assert matrix.environment("python", tmp_path / "env", constraints) == str(tmp_path / "env" / "bin" / "python")
        assert len(ran) == made


def test_an_environment_is_made_anew_where_that_is_asked_for(tmp_path: Path, ran: list[list[str]]) -> None:
    job = Job("9.8", "python")
    assert [job.done(tmp_path, [], fresh) for fresh in (False, False, True)] == ["passed (0 min)"] * 3
    assert sum("venv" in command for command in ran) == 2


def test_an_environment_that_cannot_be_made_is_a_line_of_the_table(tmp_path: Path, ran: list[list[str]]) -> None:
    assert Job("9.8", "no-such-python").done(tmp_path, [], False) == "NO ENVIRONMENT"
