"""`minicnn bench kernels`: every rung of each ladder side by side, and its share of the machine's peak."""

import statistics
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from minicnn import kernels
from minicnn.apps.bench import peaks
from minicnn.apps.bench.kernel_cases import CASES, FULL, TINY, Case, Shape
from minicnn.apps.bench.race import Say
from minicnn.apps.machine import cpu_name
from minicnn.errors import UserError
from minicnn.kernels import parallel

_PASSES = ("forward", "backward")


def bench_kernels(operations: Sequence[str], threads: int, rounds: int, say: Say, full: Shape = FULL) -> dict[str, Any]:
    """Time the rungs of `operations` (of all, where none is named) in float32, taking turns.

    `reference` runs on a tiny shape, and its times are scaled by the work. `rungs` in the result is {operation: {rung:
    {shape, scaled, forward, backward}}}; each pass has min_ms, median_ms, rate in `unit`, and the share of the peak.
    Raises UserError for an operation that has no ladder.
    """
    for operation in operations:
        if operation not in CASES:
            raise UserError(f"bench kernels: expected operations among {', '.join(CASES)}, got {operation!r}")
    parallel.set_threads(threads)
    say("measuring the machine's peaks")
    peak = {"GFLOP/s": peaks.matrix_product(threads), "GB/s": peaks.memory_copy(threads)}
    rungs = {}
    for operation in operations or CASES:
        say(operation)
        rungs[operation] = _ladder(operation, rounds, full, peak)
    return {
        "cpu": cpu_name(),
        "threads": threads,
        "rounds": rounds,
        "peak_gflops": round(peak["GFLOP/s"], 1),
        "peak_gbytes": round(peak["GB/s"], 1),
        "rungs": rungs,
    }


def format_ladders(result: Mapping[str, Any]) -> str:
    """The ladders, for people."""
    lines = [
        f"{result['threads']} threads on {result['cpu']}, float32, the fastest of {result['rounds']} rounds",
        f"measured: {result['peak_gflops']:.0f} GFLOP/s (matrix product), {result['peak_gbytes']:.1f} GB/s (copy)",
        "~ is timed on a tiny shape and scaled by the work",
    ]
    for operation, ladder in result["rungs"].items():
        lines += ["", f"{operation}: {next(iter(ladder.values()))['shape']}"]
        lines.append(f"  {'rung':<10}" + "".join(f"{name:>14}{'rate':>17}{'of peak':>9}" for name in _PASSES))
        for rung, row in ladder.items():
            mark = "~" if row["scaled"] else ""
            lines.append(f"  {rung:<10}" + "".join(_cells(row[name], row["unit"], mark) for name in _PASSES).rstrip())
    return "\n".join(lines)


def _cells(figures: Mapping[str, float] | None, unit: str, mark: str) -> str:
    if figures is None:
        return ""
    ms = figures["min_ms"]
    time_taken = mark + (f"{ms / 1e3:,.0f} s" if ms >= 1e4 else f"{ms:,.{0 if ms >= 1e3 else 2}f} ms")
    return f"{time_taken:>14}{figures['rate']:>9.3g} {unit:<7}{figures['share']:>9.1%}"


def _ladder(operation: str, rounds: int, full: Shape, peak: Mapping[str, float]) -> dict[str, Any]:
    """All rungs of one operation."""
    whole, tiny = CASES[operation](full), CASES[operation](TINY)
    cases = {rung: tiny if rung == "reference" else whole for rung in kernels.rungs(operation)}
    modules = {rung: _load(operation, rung) for rung in cases}
    for rung, case in cases.items():
        _run(case, modules[rung])  # which compiles, and makes buffers
    times: dict[str, list[tuple[float, float]]] = {rung: [] for rung in cases}
    for _ in range(rounds):
        for rung, case in cases.items():
            times[rung].append(_run(case, modules[rung]))
    return {
        rung: {
            "shape": whole.label,
            "scaled": case is tiny,
            "unit": case.unit,
            **_figures(times[rung], case, whole, peak[case.unit]),
        }
        for rung, case in cases.items()
    }


def _load(operation: str, rung: str) -> ModuleType:
    try:
        return import_module(f"minicnn.kernels.{operation}.{rung}")
    except ImportError as error:
        raise UserError(f"{operation}: {rung} cannot be loaded ({error}): see `minicnn doctor`") from error


def _run(case: Case, rung: ModuleType) -> tuple[float, float]:
    """Seconds of forward and backward."""
    started = time.perf_counter()
    saved = case.forward(rung)
    between = time.perf_counter()
    if case.backward is not None:
        case.backward(rung, saved)
    return between - started, time.perf_counter() - between


def _figures(times: Sequence[tuple[float, float]], case: Case, whole: Case, peak: float) -> dict[str, Any]:
    """Milliseconds for the whole work, work a second, and the share of the peak."""
    result: dict[str, Any] = {}
    for name, seconds, work, all_work in zip(_PASSES, zip(*times, strict=True), case.work, whole.work, strict=True):
        if not work:
            result[name] = None
            continue
        scale, rate = all_work / work, work / min(seconds) / 1e9
        result[name] = {
            "min_ms": round(min(seconds) * scale * 1e3, 4),
            "median_ms": round(statistics.median(seconds) * scale * 1e3, 4),
            "rate": round(rate, 4),
            "share": round(rate / peak, 6),
        }
    return result
