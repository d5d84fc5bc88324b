"""The run itself: one part after the other, until the time is up, each written to the report as soon as it is done."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minicnn.apps.bench.gpu.parts import PARTS, Sizes, run_apart
from minicnn.apps.bench.race import Say
from minicnn.device import module_for
from minicnn.files import atomic_write

_RESERVE = 3.0
"""Seconds that are left to write the report when the last part is ended."""


def bench_gpu(
    file: Path,
    minutes: float,
    say: Say,
    sizes: Sizes = Sizes(),  # noqa: B008 - it is frozen
    run: Callable[[str, Sizes, float], Any] = run_apart,
) -> dict[str, Any]:
    """Check and time everything on this machine's GPU; returns the report and leaves it in `file`.

    A part that fails, hangs or takes too long is in the report with its reason, and the others go on; what there is no
    time left for is said to be left out. `run` runs a part for so many seconds. Raises DeviceError without a GPU.
    """
    module_for("gpu")
    deadline = time.monotonic() + 60 * minutes - _RESERVE
    report: dict[str, Any] = {"seconds": {}}
    for name, part in PARTS.items():
        started = time.monotonic()
        left = max(deadline - started, 1.0)
        say(f"{name} ({left:.0f} s left)")
        if left > part.needs:
            report[name] = run(name, sizes, min(left, part.most))
        else:
            report[name] = {"left_out": f"{left:.0f} s left, {part.needs:.0f} needed"}
        report["seconds"][name] = round(time.monotonic() - started, 1)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def format_report(report: Mapping[str, Any]) -> str:
    """The short table, for people."""
    gpu = report["gpu"]
    lines = [f"{gpu.get('name', '?')}, driver {gpu.get('driver', '?')}, {gpu.get('versions')}"]
    for name, part in report.items():
        if isinstance(part, dict) and "failed" in part and isinstance(part["failed"], str):
            lines.append(f"{name}: FAILED: {part['failed']}")
        elif isinstance(part, dict) and "left_out" in part:
            lines.append(f"{name}: left out: {part['left_out']}")
        elif name in _LINES:
            lines += _LINES[name](part)
    return "\n".join(lines)


def _probes(found: list[dict[str, Any]]) -> list[str]:
    wrong = [f for f in found if "failed" in f or f["moved"] or not f["right"]]
    lines = [f"probes: {len(found) - len(wrong)} of {len(found)} right"]
    for f in wrong:
        if "failed" in f:
            lines.append(f"  {f['probe']} in {f['precision']}: {f['failed']}")
            continue
        moved = ", and it moves" if f["moved"] else ""
        lines.append(f"  {f['probe']} in {f['precision']}: error {f['error']:.1e}{moved}")
    return lines


def _kernels(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, row in found.items():
        if "failed" in row:
            lines.append(f"{name:<32} FAILED: {row['failed']}")
            continue
        passes = (
            f"{what:>10} {row[what]['ms']:>9.3f} ms {row[what]['rate']:>10,.0f} {row['unit']}"
            for what in ("forward", "backward")
            if what in row
        )
        lines.append(f"{name:<32}" + "".join(passes))
    return lines


def _race(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{found['preset']}, {found['layers']} layers, batch {found['batch_size']}, {found['precision']}: "
        f"{found['ours']:,.0f} images/s, {found['ratio']} times {found['peer_mode']}"
    ]


_LINES: dict[str, Callable[[Any], list[str]]] = {
    "peaks": lambda p: [f"peaks: {p['bf16_tflops']:.0f} TFLOP/s bfloat16, {p['gbytes']:,.0f} GB/s"],
    "probes": _probes,
    "layout": lambda t: [f"layout: {t['last']}"],
    "recorded": lambda r: [f"recorded steps give the bits of eager ones: {r['same_bits']}"],
    "curve": lambda c: [f"first 10 losses differ from the CPU's by at most {c['first_differences']}"],
    "kernels": _kernels,
    "epochs": lambda e: [
        f"{e['epochs']} epochs of {e['images']:,} images: {e['seconds']} s, {e['precision']}"
        + (f", NOT RECORDED: {e['refused']}" if e["refused"] else "")
    ],
    "bench": _race,
    "vgg": _race,
    "tests": lambda t: [f"tests: {t['last']}"],
    "sanitizer": lambda s: [f"{tool}: {found['last']}" for tool, found in s.items()],
}
