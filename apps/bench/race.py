"""Ours against a peer: everybody in a process of its own, taking turns, so that a noisy machine is noisy for all."""

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.apps.bench.workers import Contestant, Worker, WorkerError
from minicnn.errors import UserError

TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}
"""How far logits may be from ours, as a share of the largest one (of 1 where all are smaller), by the precision."""

_WARM_UP = 2  # steps before the first turn: kernels are compiled, buffers made
_PAUSE = 0.05  # seconds between turns, for threads that wait by spinning to go to sleep

Say = Callable[[str], None]
"""Where progress is told."""


def race(
    entered: Sequence[Contestant],
    folder: Path,
    batch_size: int,
    rounds: int,
    steps: int,
    say: Say,
    tolerance: float = TOLERANCE["float32"],
) -> dict[str, Any]:
    """Let the contestants take `steps` steps a turn, `rounds` turns each; returns figures and ratios.

    Before, their logits are compared with ours: a peer that computes something else is not timed. Whoever does not
    run is in `failed`, with the reason. Raises UserError where ours, or the whole peer, does not run.
    """
    with ExitStack() as stack:
        track = _Track(say, tolerance)
        for number, contestant in enumerate(entered):
            track.enter(stack.enter_context(Worker(contestant, folder / f"{number}.log")))
        require_two_sides({contestant.side for contestant in entered if contestant.name in track.running}, track.failed)
        for turn in range(rounds):
            track.round(steps)
            say(f"round {turn + 1} of {rounds}")
    sides = {contestant.name: contestant.side for contestant in entered}
    require_two_sides({sides[name] for name in track.running}, track.failed)
    peers = [name for name in track.about if sides[name] in ("peer", "tuned peer")]
    return {
        **compare(track.times, sides, batch_size),
        "same_logits": all(difference <= tolerance for difference in track.differences.values()),
        "logits_difference": max(track.differences[name] for name in track.times),
        "modes": {
            name: {**figures(seconds, batch_size), "peak_mb": track.memory[name]}
            for name, seconds in track.times.items()
        },
        "failed": track.failed,
        "frameworks": [track.about[name]["framework"] for name in ("ours", peers[0])],
        "networks": [track.about[name]["network"] for name in ("ours", peers[0])],
    }


class _Track:
    """The workers that are still in the race, and what was measured.

    Attributes:
        times: seconds of each step, by name.
        memory: the most that each process has held, in MB, where its system tells.
        differences: how far the logits were from ours, by name.
        about: what each said of itself.
        failed: who fell out, and why.
    """

    def __init__(self, say: Say, tolerance: float) -> None:
        self.say, self.tolerance = say, tolerance
        self.running: dict[str, Worker] = {}
        self.times: dict[str, list[float]] = {}
        self.memory: dict[str, float | None] = {}
        self.differences: dict[str, float] = {}
        self.about: dict[str, dict[str, str]] = {}
        self.failed: dict[str, str] = {}
        self.logits: Any = None

    def enter(self, worker: Worker) -> None:
        """Wait until the worker is ready, compare its logits and let it warm up; the first one in is ours."""
        name, started = worker.contestant.name, time.perf_counter()
        try:
            self.about[name] = worker.ready()
            self._check(name, np.array(worker.ask("logits")["logits"]))
            worker.ask(f"run {_WARM_UP}")
        except WorkerError as error:
            self._drop(worker, error)
            return
        self.running[name], self.times[name] = worker, []
        self.say(f"{name}: ready after {time.perf_counter() - started:.1f} s")

    def round(self, steps: int) -> None:
        """Everybody's turn."""
        for name, worker in list(self.running.items()):
            time.sleep(_PAUSE)
            try:
                answer = worker.ask(f"run {steps + 1}")
            except WorkerError as error:
                self._drop(worker, error)
            else:
                self.times[name] += answer["seconds"][1:]  # the first one finds the caches full of the others' data
                self.memory[name] = answer["peak_mb"]

    def _check(self, name: str, logits: Any) -> None:
        self.logits = logits if self.logits is None else self.logits
        difference = _difference(logits, self.logits)
        self.differences[name] = difference
        if not difference <= self.tolerance:  # NaN is no agreement either
            raise WorkerError(f"its logits differ from ours by {difference:.2g}")

    def _drop(self, worker: Worker, error: WorkerError) -> None:
        """A mode that fails is reported by name, and the others go on."""
        name = worker.contestant.name
        worker.close()
        self.running.pop(name, None)
        self.times.pop(name, None)
        self.failed[name] = str(error)
        self.say(f"{name}: {error}")


def figures(seconds: Sequence[float], batch_size: int) -> dict[str, float]:
    """What is said of one mode; images a second go by the median."""
    median = statistics.median(seconds)
    return {
        "min_ms": round(min(seconds) * 1e3, 3),
        "median_ms": round(median * 1e3, 3),
        "images_per_second": round(batch_size / median, 1),
    }


def require_two_sides(sides: Collection[str], failed: Mapping[str, str]) -> None:
    """Raise UserError, with the reasons, where ours or the whole peer is not among the `sides` that run."""
    if "ours" in sides and {"peer", "tuned peer"} & set(sides):
        return
    modes: dict[str, list[str]] = {}
    for name, reason in failed.items():
        modes.setdefault(reason, []).append(name)
    raise UserError("bench: " + "; ".join(f"{reason} ({', '.join(names)})" for reason, names in modes.items()))


def compare(times: Mapping[str, Sequence[float]], sides: Mapping[str, str], batch_size: int) -> dict[str, Any]:
    """Images a second and ratios, ours / the best mode of the peer: by medians, and by the fastest steps.

    The best mode is that with the smallest median, and for the second ratio that with the fastest step. `peer` runs
    as installed; `peer_tuned` with a tuned allocator. A ratio is None where no mode of that kind ran.
    """
    by_side: dict[str, list[str]] = {}
    for name in times:
        by_side.setdefault(sides[name], []).append(name)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    fastest = {name: min(seconds) for name, seconds in times.items()}
    result: dict[str, Any] = {"ours": round(batch_size / median["ours"], 1)}
    for side, key in (("peer", ""), ("tuned peer", "_tuned")):
        names = by_side.get(side)
        best = min(names, key=median.__getitem__) if names else None
        result |= {
            f"peer{key}": round(batch_size / median[best], 1) if best else None,
            f"peer{key}_mode": best,
            f"ratio{key}": round(median[best] / median["ours"], 3) if best else None,
            f"ratio{key}_min": round(min(fastest[n] for n in names) / fastest["ours"], 3) if names else None,
        }
    alone = by_side.get("ours, 1 thread", [None])[0]
    return result | {
        "speedup_of_threads": round(median[alone] / median["ours"], 3) if alone else None,
        "speedup_of_threads_min": round(fastest[alone] / fastest["ours"], 3) if alone else None,
    }


def format_result(result: Mapping[str, Any]) -> str:
    """The table and the ratios, for people."""
    ours, peer = result["frameworks"]
    lines = [
        f"{result['what']}: preset {result['preset']}, {result['layers']} layers, batch {result['batch_size']}, "
        f"{result['precision']}, {_machine(result)}, {result['rounds']} rounds of {result['steps']} steps",
        f"{ours} against {peer}, the same network, weights and batch; evaluation logits "
        + (f"agree (to {result['logits_difference']:.1e})" if result["same_logits"] else "DIFFER"),
        "",
        f"{'mode':<38}{'min ms':>10}{'median ms':>11}{'images/s':>10}{'peak MB':>9}",
    ]
    for name, mode in result["modes"].items():
        memory = "" if mode["peak_mb"] is None else f"{mode['peak_mb']:.0f}"
        lines.append(
            f"{name:<38}{mode['min_ms']:>10.2f}{mode['median_ms']:>11.2f}{mode['images_per_second']:>10.0f}{memory:>9}"
        )
    lines += [f"{name:<38}  does not run: {reason}" for name, reason in result["failed"].items()]
    lines.append("")
    for key, what in (("", "best mode as installed"), ("_tuned", "best mode with a tuned allocator")):
        if result[f"ratio{key}"] is not None:
            lines.append(
                f"ours / {what}, {result[f'peer{key}_mode']}: {result[f'ratio{key}']:.2f} by medians, "
                f"{result[f'ratio{key}_min']:.2f} by the fastest steps"
            )
    if result["speedup_of_threads"] is not None:
        lines.append(
            f"{result['threads']} threads / 1 thread: {result['speedup_of_threads']:.2f} by medians, "
            f"{result['speedup_of_threads_min']:.2f} by the fastest steps"
        )
    return "\n".join(lines)


def _machine(result: Mapping[str, Any]) -> str:
    return "GPU" if result["device"] == "gpu" else f"{result['threads']} threads, {result['cpu']}"


def _difference(logits: Any, ours: Any) -> float:
    """The largest difference, as a share of the largest logit where that is above 1; infinite for another shape."""
    if logits.shape != ours.shape:
        return float("inf")
    return float(np.abs(logits - ours).max() / max(1.0, float(np.abs(ours).max())))
