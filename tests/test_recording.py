"""A recorded step does what the step does, with the numbers and host actions of each time, and nothing before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minicnn.kernels._gpu.recording import Recording, each_step, live, recording


def array(xp: Any, *numbers: float) -> Any:
    return xp.asarray(np.array(numbers, np.float32))


@pytest.fixture(autouse=True)
def _compiled(gpu: Any) -> None:
    """What the steps below launch: a step runs as Python before it is recorded, so that its kernels are there."""
    x = array(gpu, 1, 2)
    y = gpu.sqrt(x * 2)
    y += 1
    y -= live(lambda: 0.5, np.float32) * gpu.tanh(gpu.where(y > 0, y, -y) * 1.5)
    x[...] = y
    x[:1] = live(lambda: 0.5, np.float32)


def test_recording_runs_nothing(gpu: Any) -> None:
    x, counted = array(gpu, 1, 2), []

    def step() -> None:
        x[...] = x * 2
        each_step(lambda: counted.append(1))

    Recording(step)
    assert (x.tolist(), counted) == ([1, 2], [])


def test_each_replay_does_the_step_once_more_on_the_same_memory(gpu: Any) -> None:
    x = array(gpu, 1, 2)

    def step() -> None:
        y = x * 2
        y += 1
        x[...] = y

    recorded = Recording(step)
    for expected in ([3, 5], [7, 11], [15, 23]):
        recorded.replay()
        assert x.tolist() == expected


def test_a_replay_reads_what_was_put_into_its_input_since(gpu: Any) -> None:
    x, y = array(gpu, 1, 2), array(gpu, 0, 0)
    recorded = Recording(lambda: y.__setitem__(..., gpu.sqrt(x)))
    x[...] = array(gpu, 9, 16)
    recorded.replay()
    assert y.tolist() == [3, 4]


def test_replays_give_the_bits_of_the_step_itself(gpu: Any) -> None:
    start = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    x, y, lr = gpu.asarray(start), gpu.asarray(start), [0.1, 0.05, 0.025]
    done: list[int] = []

    def step(z: Any) -> None:
        rate = live(lambda: lr[len(done)], np.float32)
        z -= rate * gpu.tanh(gpu.where(z > 0, z, -z) * 1.5)

    recorded = Recording(lambda: step(y))
    for number in range(3):
        step(x)
        recorded.replay()
        done.append(number)
        assert x.get().tobytes() == y.get().tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint64])
def test_a_live_number_is_read_anew_for_every_replay(dtype: Any, gpu: Any) -> None:
    numbers = iter([3, 5, 7])
    x = gpu.zeros(1, dtype=dtype)
    recorded = Recording(lambda: x.__setitem__(..., live(lambda: next(numbers), dtype)))
    found = []
    for _ in range(3):
        recorded.replay()
        found.append(x.item())
    assert found == [3, 5, 7]


def test_outside_of_a_recording_a_live_number_is_what_it_is_now_and_actions_act_at_once(gpu: Any) -> None:
    done: list[str] = []
    number = live(lambda: 2.5, np.float32)
    each_step(lambda: done.append("now"))
    assert (number.shape, number.tolist(), done, recording()) == ((1,), [2.5], ["now"], False)


def test_actions_and_numbers_come_in_the_order_of_the_step(gpu: Any) -> None:
    count, seen = [0], []

    def step() -> None:
        assert recording()
        each_step(lambda: count.__setitem__(0, count[0] + 1))
        live(lambda: seen.append(("number", count[0])) or 0, np.int32)
        each_step(lambda: count.__setitem__(0, count[0] * 10))
        live(lambda: seen.append(("number", count[0])) or 0, np.int32)

    recorded = Recording(step)
    recorded.replay()
    recorded.replay()
    assert seen == [("number", 1), ("number", 10), ("number", 11), ("number", 110)]


READS: dict[str, Callable[[Any, Any], Any]] = {
    "float()": lambda xp, x: float(x[0]),
    "item()": lambda xp, x: x[0].item(),
    "bool()": lambda xp, x: bool(x[0] > 0),
    "asnumpy": lambda xp, x: xp.asnumpy(x),
    "an upload": lambda xp, x: xp.asarray(np.ones(2, np.float32)),
    "a reduction": lambda xp, x: x.sum(),
    "a product": lambda xp, x: x @ x,
    "an index array": lambda xp, x: x[x > 0],
}
"""What a graph cannot hold; a real GPU allows some reductions and uploads, which this project does without."""


@pytest.mark.parametrize("read", READS)
def test_what_a_graph_cannot_hold_raises_while_recording_and_leaves_all_as_it_was(read: str, emulated: Any) -> None:
    x = array(emulated, 1, 2)

    def step() -> None:
        x[...] = x + 1
        READS[read](emulated, x)

    with pytest.raises(RuntimeError, match="while a step is captured"):
        Recording(step)
    assert (recording(), x.tolist()) == (False, [1, 2])
    READS[read](emulated, x)


def test_a_recording_inside_another_is_refused(gpu: Any) -> None:
    x = array(gpu, 1)
    with pytest.raises(RuntimeError, match="a recording inside another one"):
        Recording(lambda: Recording(lambda: x.fill(0)) and None)
    assert not recording()
    Recording(lambda: x.fill(2)).replay()
    assert x.tolist() == [2]


def test_a_step_with_more_live_numbers_than_there_is_room_for_is_refused(gpu: Any) -> None:
    with pytest.raises(RuntimeError, match="more than 512 live numbers"):
        Recording(lambda: [live(lambda: 0, np.float32) for _ in range(513)] and None)
