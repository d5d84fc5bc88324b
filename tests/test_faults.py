"""A small share of every kind of fault that `make faults` does; all must be survived."""

import re
import subprocess
import sys

import pytest

from tests.faults import cameras, damage, disks, imports, pipes, training
from tests.faults.tally import Tally
from tests.programs import ROOT, environment

KINDS = (
    *(training.KILLED, training.INTERRUPTED, training.SHARED),
    *(disks.FULL, disks.LOCKED),
    *(imports.KILLED, imports.INTERRUPTED),
    *(cameras.CUT, cameras.UNPLUGGED),
    *(pipes.GONE, damage.FLIPPED, damage.CUT),
)


@pytest.fixture(scope="module")
def printed() -> str:
    """What the harness prints; it starts but once, since that takes longer than some of its parts."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--share", "0.01"],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode == 1) == ("not survived" in done.stdout), done.stdout + done.stderr
    assert "came to a halt" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_faults_are_survived(printed: str, kind: str) -> None:
    assert [line for line in printed.splitlines() if line.startswith(f"not survived: {kind}: ")] == []
    counts = re.search(rf"^{re.escape(kind)} +(\d+) +(\d+)$", printed, re.MULTILINE)
    assert counts is not None, printed
    tried, survived = map(int, counts.groups())
    assert tried == survived > 0


def test_a_fault_that_is_not_survived_is_counted_and_told() -> None:
    tally = Tally()
    for number in range(3):
        with tally.fault("fire", f"house {number}"):
            assert number != 1, "it burned down"
    assert tally.table().splitlines()[1:] == ["fire      3         2", "all       3         2"]
    (line,) = tally.failures()
    assert line.startswith("fire: house 1: it burned down")
