"""`python -m tests.fuzz`: read so many inputs by every reader, or by those that are named; exit code 1 for a fault."""

import argparse
import os
import sys
from pathlib import Path

from tests.fuzz import harness, parallel


def main() -> int:
    """Run the readers, each to its first fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(harness.names())}; all by default")
    parser.add_argument("--inputs", type=int, default=2000, help="for each reader (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with input N")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other inputs (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="N", help="read input N alone, and write it to fuzz-READER-N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each reader")
    given = parser.parse_args()
    chosen = given.readers or harness.names()
    if unknown := set(chosen) - set(harness.names()):
        parser.error(f"no reader {', '.join(sorted(unknown))}")
    if min(given.inputs, given.jobs) < 1:
        parser.error("--inputs and --jobs: expected 1 or more")
    first, count = (given.first, given.inputs) if given.only is None else (given.only, 1)
    if given.only is not None:
        for name in chosen:
            made = harness.reader(name).make(name, given.seed, given.only)
            Path(f"fuzz-{name}-{given.only}").write_bytes(made)
    faults = 0
    for outcome in parallel.outcomes(chosen, range(first, first + count), given.seed, given.jobs):
        print(outcome.to_json() if given.json else outcome, flush=True)
        faults += bool(outcome.fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
