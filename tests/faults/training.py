"""Training that is killed at any moment, again and again, and goes on."""

import signal
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from tests.faults import children, tiny
from tests.faults.tally import Tally

KILLED = "training killed (SIGKILL)"
INTERRUPTED = "training interrupted (SIGINT)"
SHARED = "run resumed twice at once"


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Do so large a share of all faults to training."""
    straights = []
    for number, options in enumerate(tiny.RECIPES if share > 0.1 else tiny.RECIPES[:1]):
        place = folder / f"recipe-{number}"
        place.mkdir()
        straights.append(tiny.straight(place, options))
    for kind, number, wanted in ((KILLED, signal.SIGKILL, 240), (INTERRUPTED, signal.SIGINT, 40)):
        done = 0
        for run in count():
            if done >= wanted * share:
                break
            expected = random.choice(straights)
            path = expected.folder.with_name(f"{number.name}-{run}")
            done += _again_and_again(tally, kind, number, path, expected, random)
    for number in range(max(1, round(10 * share))):
        _two_at_once(tally, straights[0], straights[0].folder.with_name(f"shared-{number}"))


def _again_and_again(tally: Tally, kind: str, number: int, run: Path, expected: tiny.Straight, random: Random) -> int:
    """Begin a run, stop it by a signal and go on until it ends; returns how often it was stopped."""
    often = partial(tiny.checkpoint_every, random.choice([0, 0, 3600]))
    patience = random.uniform(0.15, 0.6) * expected.seconds
    stopped = 0
    while True:
        begin = ("--data", tiny.faces(run.parent), *expected.options, "--out", run)
        again = ("--resume", run)
        arguments = again if (run / "config.toml").exists() else begin
        child = children.start("train", *arguments, *tiny.MACHINE, prepare=often)
        ended = child.wait(random.uniform(0, patience))
        if ended is not None:
            break
        stopped += 1
        with tally.fault(kind, f"{run}, stop {stopped}"):
            child.send(number)
            ended = child.end()
            finished = ended.code == 0  # it may have ended by itself before the signal came
            if number == signal.SIGKILL:
                assert ended.code == -signal.SIGKILL or finished, ended
            elif not finished:
                assert "interrupted" in ended.line(), ended
            tiny.assert_whole(run)
        patience *= 1.2  # a run that saves once an epoch must come to the end of one
    with tally.also(kind, f"{run}, stopped {stopped} times"):
        assert ended.code == 0, ended
        tiny.assert_same(run, expected)
    return stopped


def _two_at_once(tally: Tally, expected: tiny.Straight, run: Path) -> None:
    """While a run is trained another process is told so, and changes nothing; once it is killed, the run is free."""
    first = children.start("train", "--data", tiny.faces(run.parent), *expected.options, *tiny.MACHINE, "--out", run)
    while not (run / "state.safetensors").exists():
        assert first.wait(0.001) is None, "it ended too soon"
    with tally.fault(SHARED, str(run)):
        first.send(signal.SIGSTOP)  # or it might be done before the second one has started
        second = children.run("train", "--resume", run, *tiny.MACHINE)
        third = children.run("train", "--data", tiny.faces(run.parent), *expected.options, *tiny.MACHINE, "--out", run)
        for refused in (second, third):
            assert refused.line() == f"minicnn: {run} is being trained by another process: wait for it, or stop it"
        first.send(signal.SIGKILL)
        first.end()
        assert children.run("train", "--resume", run, *tiny.MACHINE).code == 0
        tiny.assert_same(run, expected)
