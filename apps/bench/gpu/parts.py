"""The parts of the report, in the order of what the others rest on, and how each is run in a process of its own.

A kernel that never ends can only be stopped with its process, and after an illegal address a process can use its GPU
no more: so no part shares one with another.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import minicnn
from minicnn.apps.bench.gpu import checks, machine, programs, speed
from minicnn.apps.output import say
from minicnn.kernels import parallel


@dataclass(frozen=True)
class Sizes:
    """How much each part does; the defaults are for a data center's card, tests make them small."""

    peak_side: int = 8192
    peak_megabytes: int = 4096
    curve_steps: int = 50
    batch: int = 512
    epoch_images: int = 28_709
    epochs: int = 60
    rounds: int = 3
    steps: int = 40


_LAST_SECONDS = 3.0
"""How long a process that was killed is waited for."""


class Part(NamedTuple):
    """What a part does with sizes and the seconds it has, how many it needs at least, and how many it gets at most.

    Programs are run from here: they are processes of their own.
    """

    work: Callable[[Sizes, float], Any]
    needs: float
    most: float
    is_program: bool = False


PARTS: dict[str, Part] = {
    "gpu": Part(lambda sizes, left: machine.describe(), 0, 60),
    "peaks": Part(lambda sizes, left: machine.peaks(sizes.peak_side, sizes.peak_megabytes), 10, 30),
    "layout": Part(lambda sizes, left: programs.run_tests(left, "tests/test_device_header.py"), 15, 45, True),
    "probes": Part(lambda sizes, left: checks.compare_with_float64(say), 20, 90),
    "recorded": Part(lambda sizes, left: checks.recorded_beside_eager(), 15, 40),
    "curve": Part(lambda sizes, left: checks.loss_curve(steps=sizes.curve_steps), 20, 60),
    "epochs": Part(lambda sizes, left: speed.train_whole(sizes.epoch_images, sizes.epochs, sizes.batch), 30, 90),
    "bench": Part(lambda sizes, left: speed.beside_torch("bench", 4, sizes, say), 60, 150),
    "kernels": Part(lambda sizes, left: speed.time_kernels(sizes.batch, say), 20, 80),
    "tests": Part(lambda sizes, left: programs.run_tests(left), 40, 120, True),
    "vgg": Part(lambda sizes, left: speed.beside_torch("vgg", 8, sizes, say), 60, 150),
    "sanitizer": Part(lambda sizes, left: programs.sanitize(left), 20, 60, True),
}


def run_here(name: str, sizes: Sizes, seconds: float) -> Any:
    """What a part finds; {"failed": why} in its place where it raises."""
    try:
        return PARTS[name].work(sizes, seconds)
    except Exception as error:  # one broken part must not cost the others, on a machine that is lent for minutes
        return {"failed": f"{type(error).__name__}: {error}"}


def run_apart(name: str, sizes: Sizes, seconds: float) -> Any:
    """The same by a process of its own, which is ended where it takes longer than `seconds`."""
    if PARTS[name].is_program:
        return run_here(name, sizes, seconds)
    root = str(Path(minicnn.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "minicnn.apps.bench.gpu.parts", name, json.dumps(asdict(sizes)), str(seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its own processes can be ended with it
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except BaseException as error:  # also Ctrl-C, which a session of its own does not hear
        os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # it may hang in the driver for good
            process.communicate(timeout=_LAST_SECONDS)
        if isinstance(error, subprocess.TimeoutExpired):
            return {"failed": f"it took more than {seconds:.0f} s"}
        raise
    try:
        return json.loads(printed.splitlines()[-1])
    except (ValueError, IndexError):
        return {"failed": f"its process ended with code {process.returncode}"}


def _end_with(parent: int) -> None:
    """End this process, which may be waiting for the GPU, when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    parallel.set_threads(None)  # for what is compared with the CPU
    print(json.dumps(run_here(sys.argv[1], Sizes(**json.loads(sys.argv[2])), float(sys.argv[3]))))
