"""What runs as a program of its own: the test suite on the GPU, and one training step under compute-sanitizer."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import minicnn

_CHECKOUT = Path(minicnn.__file__).resolve().parents[1]

_STEP = "from minicnn.apps.bench.gpu import checks; checks.small_step()"

_TOOLS = ("memcheck", "racecheck")

_LAST_WORDS = 5.0
"""Seconds of a program's time in which pytest tells what it found until it was interrupted."""


_FIRST = ("device_header", "conv2d_cuda", "conv_block_cuda", "passes_cuda", "linear_cuda", "optim_cuda", "recording")
"""Tests that are run first, should there be no time for all: each says most about kernels."""


def run_tests(limit: float, *files: str) -> dict[str, Any]:
    """The tests, or those in `files`, that have a GPU as a parameter; a package that was installed has none."""
    tests = _CHECKOUT / "tests"
    if not (tests / "conftest.py").is_file():
        return {"left_out": "there are no tests beside the package: run it in a checkout"}
    first = [f"tests/test_{name}.py" for name in _FIRST]
    others = [str(path.relative_to(_CHECKOUT)) for path in sorted(tests.glob("test_*.py"))]
    command = [
        *(sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider", "--maxfail=50"),
        "--continue-on-collection-errors",  # a borrowed machine may lack a package that a few tests need
        *(files or dict.fromkeys(first + others)),
    ]
    found = _run(command, limit, _CHECKOUT)
    text = "\n".join(found["tail"] or [found["last"]])
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|error)", text)}
    return {**found, **counts}


def sanitize(limit: float) -> dict[str, Any]:
    """Two small training steps under each tool of compute-sanitizer, where it is installed and takes the card."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"left_out": "compute-sanitizer is not on the PATH"}
    step = [sys.executable, "-c", _STEP]
    # what CuPy asks of a card, and is refused, is no fault
    options = ["--error-exitcode", "9", "--report-api-errors", "no"]
    return {tool: _run([program, "--tool", tool, *options, *step], limit / 2, _CHECKOUT) for tool in _TOOLS}


def _run(command: list[str], limit: float, folder: Path) -> dict[str, Any]:
    """Exit code, seconds and the end of what it printed; `code` is None where it ran out of time."""
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    code: int | None
    try:
        text, _ = process.communicate(timeout=max(limit - _LAST_WORDS, 1.0))
        code = process.returncode
    except subprocess.TimeoutExpired:
        code, text = None, _ended(process)
    except BaseException:  # Ctrl-C, which a process group of its own does not hear
        os.killpg(process.pid, signal.SIGKILL)
        raise
    lines = [line for line in text.splitlines() if line.strip()]
    return {
        "code": code,
        "seconds": round(time.monotonic() - started, 1),
        "last": lines[-1] if lines else "",
        "tail": lines[-40:] if code != 0 else [],
    }


def _ended(process: "subprocess.Popen[str]") -> str:
    """What a program said that was told to end, as by Ctrl-C, and then made to."""
    for how, seconds in ((signal.SIGINT, _LAST_WORDS - 1), (signal.SIGKILL, 1.0)):
        os.killpg(process.pid, how)
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            continue
    return ""
