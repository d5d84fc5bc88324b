"""The loader: which batches come, that they depend on nothing hidden, and that its thread goes away."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest

from minicnn.data.augment import Amounts, Augmentation
from minicnn.data.dataset import Split
from minicnn.data.loader import Batch, Loader
from minicnn.data.preprocessing import Preprocessing
from minicnn.device import to_numpy
from minicnn.errors import DeviceError
from minicnn.kernels._gpu.driver import driver
from minicnn.kernels.augment import AMOUNTS

EVERYTHING = Augmentation(crop=4, flip=True, degrees=10, shift=0.1, zoom=0.1, erase=0.5, mixup=0.2)
ALONE = {
    "nothing": Augmentation(),
    "crop": Augmentation(crop=4),
    "flip": Augmentation(flip=True),
    "degrees": Augmentation(degrees=10),
    "shift": Augmentation(shift=0.1),
    "zoom": Augmentation(zoom=0.1),
    "erase": Augmentation(erase=0.5),
    "mixup": Augmentation(mixup=0.2),
    "everything": EVERYTHING,
}
RAW = Preprocessing(mean=0.0, std=1 / 255)  # gives grey levels back
NORMAL = Preprocessing(mean=0.5, std=0.25)


def numbered(n: int) -> Split:
    """Image i is all i and has label i, so that a batch shows which images it holds."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, 48, 48))
    return Split(images.copy(), np.arange(n, dtype=np.int64))


def labels(loader: Loader, epoch: int = 0) -> list[list[int]]:
    return [batch.targets.tolist() for batch in loader.epoch(epoch)]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-loader")]


def loader_threads_end() -> bool:
    """Whether all of them end soon: they finish the batch that they are making."""
    for thread in loader_threads():
        thread.join(10)
    return loader_threads() == []


# Which batches


def test_unshuffled_batches_follow_the_split() -> None:
    assert labels(Loader(numbered(7), RAW, 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_images_are_preprocessed_and_lie_beside_their_labels() -> None:
    for batch in Loader(numbered(10), RAW, 4, shuffle=True).epoch(0):
        assert batch.images.dtype == np.float32
        assert batch.images.shape == (len(batch.targets), 1, 48, 48)
        expected = np.broadcast_to(batch.targets[:, None, None, None], batch.images.shape)
        np.testing.assert_allclose(batch.images, expected, atol=1e-4)


def test_targets_are_labels() -> None:
    [batch] = Loader(numbered(5), RAW, 5).epoch(0)
    assert batch.targets.dtype == np.int64


def test_drop_last_leaves_out_the_batch_that_is_not_full() -> None:
    assert labels(Loader(numbered(7), RAW, 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("n", "drop_last", "batches"), [(6, False, 2), (7, False, 3), (6, True, 2), (8, True, 2)])
def test_the_length_is_the_number_of_batches(n: int, drop_last: bool, batches: int) -> None:
    loader = Loader(numbered(n), RAW, 3, drop_last=drop_last)
    assert len(loader) == len(list(loader.epoch(0))) == batches


def test_shuffling_gives_every_image_once_an_epoch() -> None:
    drawn = np.concatenate(labels(Loader(numbered(50), RAW, 8, shuffle=True)))
    assert sorted(drawn) == list(range(50))
    assert drawn.tolist() != list(range(50))


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    one, two = (Loader(numbered(50), RAW, 8, shuffle=True, seed=seed) for seed in (1, 2))
    assert len({str(order) for order in (labels(one, 0), labels(one, 1), labels(two, 0), labels(two, 1))}) == 4


def test_augmentation_sees_preprocessed_images_and_the_number_of_classes() -> None:
    loader = Loader(numbered(6), RAW, 6, augmentation=Augmentation(mixup=1.0), classes=9)
    [batch] = loader.epoch(0)
    assert batch.targets.shape == (6, 9)
    np.testing.assert_allclose(batch.images[:, 0, 0, 0], batch.targets @ np.arange(9), atol=1e-4)


# What a batch depends on


def batches_equal(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        np.array_equal(a, b) for left, right in zip(one, two, strict=True) for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def noisy() -> Callable[[], Loader]:
    split = Split(np.random.default_rng(0).integers(0, 256, (45, 48, 48), dtype=np.uint8), np.arange(45) % 7)
    return lambda: Loader(split, RAW, 8, seed=3, shuffle=True, augmentation=EVERYTHING)


def test_two_loaders_give_the_same_bits(noisy: Callable[[], Loader]) -> None:
    assert batches_equal(list(noisy().epoch(2)), list(noisy().epoch(2)))


def test_the_same_loader_gives_the_same_bits_again(noisy: Callable[[], Loader]) -> None:
    loader = noisy()
    first = list(loader.epoch(2))
    list(loader.epoch(5))
    assert batches_equal(first, list(loader.epoch(2)))


@pytest.mark.parametrize("start", [0, 1, 4, 5, 6])
def test_an_epoch_taken_up_at_a_batch_gives_the_bits_of_one_never_stopped(
    start: int, noisy: Callable[[], Loader]
) -> None:
    whole = list(noisy().epoch(2))
    assert len(whole) == 6
    assert batches_equal(list(noisy().epoch(2, start)), whole[start:])


def test_the_first_batch_is_not_augmented_by_the_numbers_that_drew_the_order() -> None:
    # NumPy seeds [s, e] and [s, e, 0] alike: with both in use, order and augmentation would go together.
    drawn = []

    class Spy(Augmentation):
        def draw(self, rng: np.random.Generator, n: int, height: int, width: int) -> Amounts:
            drawn.append(rng.random())
            return super().draw(rng, n, height, width)

    list(Loader(numbered(6), RAW, 2, seed=3, augmentation=Spy()).epoch(4))
    assert len({*drawn, np.random.default_rng([3, 4]).random()}) == 4


BITS = {
    "nothing": "ad01c389c2acf4a8",
    "crop": "770b5df9ac550ac4",
    "flip": "65a296071c132af5",
    "degrees": "82fdaf8e44f564d4",
    "shift": "f277f52a23dc3dc8",
    "zoom": "45b53832494b9a6b",
    "erase": "db24faf64734675f",
    "mixup": "2aaa8a6e47c3b1ec",
    "everything": "31c744c219699162",
}
"""Hashes of an epoch with one kind of augmentation: trained weights and their figures are repeated only from these."""


@pytest.mark.parametrize("name", BITS)
def test_an_epoch_has_the_bits_that_it_had_in_earlier_versions(name: str) -> None:
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (45, 48, 48), dtype=np.uint8)
    split = Split(images, np.arange(45) % 7)
    text = hashlib.sha256()
    preprocessing = Preprocessing(0.5077, 0.2551)
    for batch in Loader(split, preprocessing, 8, seed=3, shuffle=True, augmentation=ALONE[name]).epoch(2):
        text.update(batch.images.tobytes())
        text.update(batch.targets.tobytes())
    assert text.hexdigest()[:16] == BITS[name]


def test_augmentation_differs_between_epochs() -> None:
    split = Split(np.repeat(np.arange(48, dtype=np.uint8), 48).reshape(1, 48, 48), np.zeros(1, np.int64))
    loader = Loader(split, RAW, 1, augmentation=Augmentation(degrees=20))
    [one], [two] = loader.epoch(0), loader.epoch(1)
    assert not np.array_equal(one.images, two.images)


# The thread


class Counting(Augmentation):
    """Counts the batches that it draws for, and fails in the one asked for."""

    calls = 0
    fails_at = -1

    def draw(self, rng: np.random.Generator, n: int, height: int, width: int) -> Amounts:
        call = type(self).calls
        type(self).calls += 1
        if call == self.fails_at:
            raise RuntimeError(f"call {call}")
        return super().draw(rng, n, height, width)


@pytest.fixture
def counting() -> type[Counting]:
    return type("Fresh", (Counting,), {})


def test_at_most_two_batches_are_prepared_ahead(counting: type[Counting]) -> None:
    batches = Loader(numbered(30), RAW, 3, augmentation=counting()).epoch(0)
    for taken in range(1, 4):
        next(batches)
        settle(lambda taken=taken: counting.calls == taken + 2)  # type: ignore[misc]
        time.sleep(0.05)  # time enough for one more, were it wanted
        assert counting.calls == taken + 2
    batches.close()


def settle(reached: Callable[[], bool]) -> None:
    """Wait until `reached`, 10 seconds at most."""
    deadline = time.monotonic() + 10
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert reached()


def test_nothing_is_prepared_before_it_is_asked_for(counting: type[Counting]) -> None:
    Loader(numbered(30), RAW, 3, augmentation=counting()).epoch(0)
    assert counting.calls == 0
    assert loader_threads_end()


def test_batches_are_prepared_by_another_thread() -> None:
    seen = []

    class Where(Augmentation):
        def draw(self, rng: np.random.Generator, n: int, height: int, width: int) -> Amounts:
            seen.append(threading.current_thread())
            return super().draw(rng, n, height, width)

    list(Loader(numbered(9), RAW, 3, augmentation=Where()).epoch(0))
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for(counting: type[Counting]) -> None:
    counting.fails_at = 2
    batches = Loader(numbered(30), RAW, 3, augmentation=counting()).epoch(0)
    assert [batch.targets[0] for batch in islice(batches, 2)] == [0, 3]
    with pytest.raises(RuntimeError, match="call 2"):
        next(batches)
    assert loader_threads_end()


def test_the_thread_ends_with_the_epoch() -> None:
    list(Loader(numbered(30), RAW, 3).epoch(0))
    assert loader_threads_end()


def test_the_thread_ends_when_the_iterator_is_closed_early() -> None:
    batches = Loader(numbered(30), RAW, 3).epoch(0)
    next(batches)
    assert len(loader_threads()) == 1
    batches.close()
    assert loader_threads_end()


def test_closing_does_not_wait_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may close an iterator in a thread that the loader's would have to wait for."""
    waited: list[bool] = []
    shutdown = ThreadPoolExecutor.shutdown

    def spy(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        waited.append(wait)
        shutdown(self, wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", spy)
    batches = Loader(numbered(30), RAW, 3).epoch(0)
    next(batches)
    batches.close()
    assert waited == [False]


def test_the_thread_ends_when_a_loop_is_left() -> None:
    for _ in Loader(numbered(30), RAW, 3).epoch(0):
        break
    assert loader_threads_end()


def test_a_program_that_forgets_an_iterator_half_way_still_ends_quietly() -> None:
    code = (
        "import numpy as np\n"
        "from minicnn.data.dataset import Split\n"
        "from minicnn.data.loader import Loader\n"
        "from minicnn.data.preprocessing import Preprocessing\n"
        "split = Split(np.zeros((99, 48, 48), np.uint8), np.zeros(99, np.int64))\n"
        "batches = Loader(split, Preprocessing(0.0, 1.0), 3).epoch(0)\n"
        "next(batches)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# On the GPU


@pytest.fixture
def split() -> Split:
    return Split(np.random.default_rng(0).integers(0, 256, (21, 48, 48), dtype=np.uint8), np.arange(21) % 7)


def fetched(loader: Loader, epoch: int = 1, start: int = 0) -> list[Batch]:
    return [Batch(to_numpy(batch.images), to_numpy(batch.targets)) for batch in loader.epoch(epoch, start)]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ALONE)
def test_both_devices_make_the_same_batches_bit_for_bit(name: str, split: Split) -> None:
    options = {"seed": 3, "shuffle": True, "augmentation": ALONE[name]}
    on_cpu, on_gpu = (fetched(Loader(split, NORMAL, 8, device=device, **options)) for device in ("cpu", "gpu"))
    assert [len(batch.images) for batch in on_gpu] == [8, 8, 5]
    for got, want in zip(on_gpu, on_cpu, strict=True):
        assert (got.images.dtype, got.targets.dtype) == (want.images.dtype, want.targets.dtype)
        np.testing.assert_array_equal(got.targets, want.targets)
        np.testing.assert_array_equal(got.images, want.images)


@pytest.mark.usefixtures("gpu")
def test_both_devices_equalize(split: Split) -> None:
    equalizing = Preprocessing(0.5, 0.25, contrast="equalize")
    on_cpu, on_gpu = (fetched(Loader(split, equalizing, 21, device=device)) for device in ("cpu", "gpu"))
    assert batches_equal(on_gpu, on_cpu)


def test_batches_of_one_size_are_the_same_memory_of_the_gpu(gpu: Any, split: Split) -> None:
    loader = Loader(split, NORMAL, 8, augmentation=EVERYTHING, device="gpu")
    first, second, last = loader.epoch(0)
    again = next(loader.epoch(1))
    for name in Batch._fields:
        assert isinstance(getattr(first, name), gpu.ndarray)
        assert getattr(first, name) is getattr(second, name) is getattr(again, name)
        assert len(getattr(last, name)) == 5


@pytest.mark.usefixtures("gpu")
def test_a_batch_costs_one_copy_to_the_gpu(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(split, NORMAL, 8, augmentation=EVERYTHING, device="gpu")
    sizes, copy = [], driver().copy
    monkeypatch.setattr(driver(), "copy", lambda values, to: (sizes.append(values.nbytes), copy(values, to)))
    list(loader.epoch(0))
    per_image = AMOUNTS.itemsize + 7 * 4  # and soft targets
    assert sizes == [8 * per_image, 8 * per_image, 5 * per_image]


@pytest.mark.usefixtures("gpu")
def test_an_epoch_taken_up_on_the_gpu_gives_the_bits_of_one_never_stopped(split: Split) -> None:
    loader = Loader(split, NORMAL, 8, shuffle=True, augmentation=EVERYTHING, device="gpu")
    assert batches_equal(fetched(loader)[1:], fetched(loader, start=1))


@pytest.mark.usefixtures("gpu")
def test_the_thread_that_draws_for_the_gpu_ends_with_the_iterator(split: Split) -> None:
    batches = Loader(split, NORMAL, 4, device="gpu").epoch(0)
    next(batches)
    assert len(loader_threads()) == 1
    batches.close()
    assert loader_threads_end()


@pytest.mark.usefixtures("gpu")
def test_the_gpu_is_asked_by_the_thread_that_takes_the_batches(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of its own would have a stream of its own, and could fall into the recording of a step."""
    loader = Loader(split, NORMAL, 4, augmentation=EVERYTHING, device="gpu")
    threads, launch, copy = set(), driver().launch, driver().copy

    def noted(function: Callable[..., None]) -> Callable[..., None]:
        return lambda *arguments: (threads.add(threading.current_thread()), function(*arguments))[1]

    monkeypatch.setattr(driver(), "launch", noted(launch))
    monkeypatch.setattr(driver(), "copy", noted(copy))
    list(loader.epoch(0))
    assert threads == {threading.current_thread()}


def test_a_loader_without_a_gpu_says_so(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match="CuPy is not installed"):
        Loader(split, NORMAL, 8, device="gpu")


# Mistakes


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (5, {"batch_size": 0}, "batch_size of at least 1, got 0"),
        (5, {"batch_size": 2, "seed": -1}, "seed of at least 0, got -1"),
        (0, {"batch_size": 2}, "empty split"),
        (5, {"batch_size": 6, "drop_last": True}, "no full batch of 6"),
    ],
)
def test_refuses_what_makes_no_batches(n: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(numbered(n), RAW, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "start"), [(-1, 0), (0, -1), (0, 4)])
def test_refuses_an_epoch_that_is_not_there_at_once(number: int, start: int) -> None:
    with pytest.raises(ValueError, match=r"Loader\.epoch: expected"):
        Loader(numbered(7), RAW, 3).epoch(number, start)
