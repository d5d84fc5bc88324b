"""`python -m tests.fuzz`: read so many inputs by every reader, or by those that are named; exit code 1 for a fault."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz import harness


def main() -> int:
    """Run the readers one after the other, each to its first fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(harness.names())}; all by default")
    parser.add_argument("--inputs", type=int, default=2000, help="for each reader (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with input N")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other inputs (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="N", help="read input N alone, and write it to fuzz-READER-N")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each reader")
    given = parser.parse_args()
    chosen = given.readers or harness.names()
    if unknown := set(chosen) - set(harness.names()):
        parser.error(f"no reader {', '.join(sorted(unknown))}")
    first, count = (given.first, given.inputs) if given.only is None else (given.only, 1)
    for name in chosen:
        made = harness.reader(name)  # imported before memory is limited
        if given.only is not None:
            Path(f"fuzz-{name}-{given.only}").write_bytes(made.make(name, given.seed, given.only))
    harness.limit_memory()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # libjpeg and libtiff tell of every fault there
    faults = 0
    for name in chosen:
        with TemporaryDirectory() as folder:
            outcome = harness.run(name, range(first, first + count), given.seed, Path(folder))
        print(outcome.to_json() if given.json else outcome, flush=True)
        faults += bool(outcome.fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
