"""Ten steps of training: the losses are those that were stored, on every rung, and their bits are always the same."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from minicnn import kernels
from tests.trajectories import NETWORKS, SMALL, STEPS, STORED, train

LOSSES = json.loads(STORED.read_text())
NEAR = {"default": 1e-4, "paper": 1e-4, "whole default": 3e-3}
"""How far float32 losses may be apart, as a share. Rounding grows from step to step, and another CPU rounds in another
way: more so with many channels, and with AdamW, whose first steps are as long for a small gradient as for a large one.
"""


@pytest.mark.parametrize(
    ("name", "rung"),
    [(name, rung) for name in SMALL for rung in ("reference", "im2col", "fast")]
    + [("whole default", "im2col"), ("whole default", "fast")],
)
def test_the_losses_of_ten_steps_are_the_stored_ones_on_every_rung(name: str, rung: str) -> None:
    with kernels.using(rung):
        losses, _ = train(name)
    assert losses == pytest.approx(LOSSES[name]["float32"], rel=NEAR[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float64_they_are_so_to_nine_digits(name: str) -> None:
    losses, _ = train(name, "float64")
    assert losses == pytest.approx(LOSSES[name]["float64"], rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_ten_steps_move_the_loss_by_more_than_these_tolerances(name: str) -> None:
    losses = LOSSES[name]["float64"]
    assert len(losses) == STEPS
    assert all(abs(one / other - 1) > NEAR[name] for one, other in pairwise(losses))


def test_another_process_and_another_number_of_threads_give_the_same_bits() -> None:
    here = {name: list(train(name)) for name in NETWORKS}
    for threads, hash_seed in (("1", "1"), ("2", "2")):
        command = [sys.executable, "-W", "error", "-m", "tests.trajectories", threads]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=120)
        assert json.loads(output.stdout) == here
