"""Readers of a pipe that go away, output that is closed or cannot be written: a clean end."""

import subprocess
import sys
from pathlib import Path
from random import Random

from tests.faults import pictures, tiny
from tests.faults.tally import Tally
from tests.programs import environment, minicnn

GONE = "pipe closed"

START = "from tests.faults import pictures; pictures.plain(); from minicnn.apps.cli import main; main()"
"""In a process of its own, since what Python does at its end is a part of this."""

ENDINGS = {
    "after a line": "| head -n 1 >/dev/null",
    "after a byte": "| head -c 1 >/dev/null",
    "at once": "| true",
    "closed": ">&-",
    "full": ">/dev/full",
}


def disturb(tally: Tally, folder: Path, random: Random, share: float) -> None:
    """Take the reader away from every program that prints."""
    run, weights, data = folder / "run", pictures.network(folder), tiny.faces(folder)
    assert minicnn("train", "--data", data, *tiny.RECIPES[1], *tiny.MACHINE, "--out", run).code == 0
    assert minicnn("data", "import", data).code == 0
    reader = ("--weights", weights, "--threads", 1)
    film = pictures.film(folder / "film.avi", 40)
    programs: list[tuple[object, ...]] = [
        ("predict", pictures.stills(folder, 300), "--json", *reader),
        ("predict", pictures.stills(folder, 3), *reader),
        ("predict", film, "--out", folder / "copies", *reader),
        ("camera", "--no-window", "--source", film, "--record", folder / "seen.avi", *reader),
        ("eval", run, *tiny.MACHINE),
        ("eval", run, "--json", *tiny.MACHINE),
        ("train", "--resume", run, "--json"),
        ("export", run, "--onnx", folder / "network.onnx"),
        ("data", "info"),
        ("--help",),
    ]
    pairs = [(arguments, ending) for arguments in programs for ending in ENDINGS]
    for arguments, ending in random.sample(pairs, max(1, round(share * len(pairs)))):
        with tally.fault(GONE, f"{' '.join(map(str, arguments[:2]))}, {ending}"):
            _cut_off(folder, arguments, ending)


def _cut_off(folder: Path, arguments: tuple[object, ...], ending: str) -> None:
    variables = environment()
    variables.pop("PYTHONUNBUFFERED", None)  # it would hide what is left in the buffer at the end
    line = f'"$@" {ENDINGS[ending]}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-c", START, *map(str, arguments)],
        capture_output=True, text=True, env=variables, timeout=120, check=False,
    )  # fmt: skip
    usual = (" pictures/s", " frames/s", "recorded: ")
    ours = [line for line in done.stderr.splitlines() if not any(text in line for text in usual)]
    if ending == "full":
        assert (done.returncode, ours) == (1, ["minicnn: input or output: No space left on device"]), done
    else:
        assert (done.returncode in (0, 1), ours) == (True, []), done
    assert not list(folder.glob("**/.*.tmp*")), list(folder.glob("**/.*.tmp*"))
    for film in (*folder.glob("seen.avi"), *folder.glob("copies/*.mp4")):
        frames, promised = pictures.frames_of(film)
        assert frames == promised > 0, film
