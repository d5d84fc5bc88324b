"""`python -m tests.faults`: do all faults, or those of the named parts; exit code 1 where one is not survived."""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: a fork has none of BLAS's threads
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # as the programs set it before they first use FFmpeg

from tests.faults import cameras, damage, disks, imports, pipes, training
from tests.faults.tally import Tally

PARTS: dict[str, Callable[[Tally, Path, Random, float], None]] = {
    "training": training.disturb,
    "disks": disks.disturb,
    "imports": imports.disturb,
    "cameras": cameras.disturb,
    "pipes": pipes.disturb,
    "damage": damage.disturb,
}


def main() -> int:
    """Do the faults, and print how many were tried and survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of all faults (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one does other faults (default: %(default)s)")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    tally, begun = Tally(), time.monotonic()
    for name, disturb in PARTS.items():
        if given.parts and name not in given.parts:
            continue
        with TemporaryDirectory(prefix="minicnn-faults-") as folder:
            os.environ["MINICNN_DATA"] = f"{folder}/home"
            with tally.also(name, "it came to a halt"):
                disturb(tally, Path(folder), Random(f"{name} {given.seed}"), given.share)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    print(f"\n{tally.table()}")
    for line in tally.failures():
        print(f"not survived: {line}")
    return 1 if tally.lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
