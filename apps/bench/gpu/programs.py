"""What runs as a program of its own: the test suite on the GPU, and one training step under compute-sanitizer."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import minicnn

_CHECKOUT = Path(minicnn.__file__).resolve().parents[1]

_STEP = "from minicnn.apps.bench.gpu import checks; checks.loss_curve(layers=2, batch=4, steps=2)"

_TOOLS = ("memcheck", "racecheck")


def run_tests(limit: float) -> dict[str, Any]:
    """The tests that have a GPU as a parameter, in this checkout; a package that was installed has none."""
    if not (_CHECKOUT / "tests" / "conftest.py").is_file():
        return {"left_out": "there are no tests beside the package: run it in a checkout"}
    command = [
        *(sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--maxfail=50"),
        "--continue-on-collection-errors",  # a borrowed machine may lack a package that a few tests need
    ]
    found = _run(command, limit, _CHECKOUT)
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|error)", found["last"])}
    return {**found, **counts}


def sanitize(limit: float) -> dict[str, Any]:
    """Two small training steps under each tool of compute-sanitizer, where it is installed and takes the card."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"left_out": "compute-sanitizer is not on the PATH"}
    step = [sys.executable, "-c", _STEP]
    return {
        tool: _run([program, "--tool", tool, "--error-exitcode", "9", *step], limit / 2, _CHECKOUT) for tool in _TOOLS
    }


def _run(command: list[str], limit: float, folder: Path) -> dict[str, Any]:
    """Exit code, seconds and the end of what it printed; `code` is None where it ran out of time."""
    started = time.monotonic()
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit, check=False)
        code: int | None = done.returncode
        text = f"{done.stderr}\n{done.stdout}"  # where both say something, it is stdout that ends with the result
    except subprocess.TimeoutExpired as error:
        code, text = None, (error.stdout or b"").decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return {
        "code": code,
        "seconds": round(time.monotonic() - started, 1),
        "last": lines[-1] if lines else "",
        "tail": lines[-40:] if code else [],
    }
