"""The run itself: one part after the other, until the time is up, each written to the report as soon as it is done."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicnn.apps.bench.gpu import checks, machine, programs, speed
from minicnn.apps.bench.race import Say
from minicnn.device import module_for
from minicnn.files import atomic_write

Part = Callable[[], Any]


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


_FULL = Sizes()


def bench_gpu(file: Path, minutes: float, say: Say, sizes: Sizes = _FULL) -> dict[str, Any]:
    """Check and time everything on this machine's GPU; returns the report and leaves it in `file`.

    The parts stand in the order of what the others rest on. A part that fails is in the report with its reason, and
    the others go on; what there is no time left for is said to be left out. Raises DeviceError without a GPU.
    """
    module_for("gpu")
    deadline = time.monotonic() + 60 * minutes

    def left() -> float:
        return max(deadline - time.monotonic(), 1.0)

    parts: dict[str, tuple[float, Part]] = {
        "gpu": (0, machine.describe),
        "peaks": (10, lambda: machine.peaks(sizes.peak_side, sizes.peak_megabytes)),
        "probes": (30, checks.compare_with_float64),
        "recorded": (20, checks.recorded_beside_eager),
        "curve": (20, lambda: checks.loss_curve(steps=sizes.curve_steps)),
        "kernels": (30, lambda: speed.time_kernels(sizes.batch, say)),
        "epochs": (60, lambda: speed.train_whole(sizes.epoch_images, sizes.epochs, sizes.batch)),
        "bench": (100, lambda: speed.beside_torch("bench", 4, sizes, say)),
        "vgg": (100, lambda: speed.beside_torch("vgg", 8, sizes, say)),
        "tests": (40, lambda: programs.run_tests(min(left(), 150.0))),
        "sanitizer": (20, lambda: programs.sanitize(min(left(), 60.0))),
    }
    report: dict[str, Any] = {"seconds": {}}
    for name, (needs, part) in parts.items():
        started = time.monotonic()
        say(f"{name} ({left():.0f} s left)")
        report[name] = _done(part) if left() > needs else {"left_out": f"{left():.0f} s left, {needs:.0f} needed"}
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


def _done(part: Part) -> Any:
    try:
        return part()
    except Exception as error:  # one broken part must not cost the others, on a machine that is lent for minutes
        return {"failed": f"{type(error).__name__}: {error}"}


def _probes(found: list[dict[str, Any]]) -> list[str]:
    wrong = [f for f in found if f["moved"] or not f["right"]]
    lines = [f"probes: {len(found) - len(wrong)} of {len(found)} right"]
    for f in wrong:
        moved = ", and it moves" if f["moved"] else ""
        lines.append(f"  {f['probe']} in {f['precision']}: error {f['error']:.1e}{moved}")
    return lines


def _kernels(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, row in found.items():
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
    "recorded": lambda r: [f"recorded steps give the bits of eager ones: {r['same_bits']}"],
    "curve": lambda c: [f"first 10 losses differ from the CPU's by at most {c['first_differences']}"],
    "kernels": _kernels,
    "epochs": lambda e: [f"{e['epochs']} epochs of {e['images']:,} images: {e['seconds']} s, {e['precision']}"],
    "bench": _race,
    "vgg": _race,
    "tests": lambda t: [f"tests: {t['last']}"],
    "sanitizer": lambda s: [f"{tool}: {found['last']}" for tool, found in s.items()],
}
