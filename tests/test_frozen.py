"""Frozen weights: what is derived from them is made once inside the block, and anew outside."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

import numpy as np
import pytest

from minicnn import Tensor, inference, models
from minicnn.kernels.frozen import derived, frozen_weights


def counting() -> Callable[[], int]:
    """Gives 1 at the first call, 2 at the second."""
    return count(1).__next__


def test_outside_a_block_it_is_made_every_time() -> None:
    make = counting()
    weight = np.ones(3)
    assert [derived("sum", (weight,), make), derived("sum", (weight,), make)] == [1, 2]


def test_inside_a_block_it_is_made_once_for_each_purpose_and_array() -> None:
    make = counting()
    weight, other = np.ones(3), np.ones(3)
    with frozen_weights():
        assert derived("sum", (weight,), make) == derived("sum", (weight,), make) == 1
        assert derived("product", (weight,), make) == 2
        assert derived("sum", (other,), make) == 3
    with frozen_weights():
        assert derived("sum", (weight,), make) == 4


def test_a_block_in_a_block_keeps_what_the_outer_one_has() -> None:
    make = counting()
    weight = np.ones(3)
    with frozen_weights():
        derived("sum", (weight,), make)
        with frozen_weights():
            assert derived("sum", (weight,), make) == 1
        assert derived("sum", (weight,), make) == 1


def test_an_array_that_takes_the_place_of_a_lost_one_is_not_mistaken_for_it() -> None:
    with frozen_weights():
        found = {
            derived("value", (array,), lambda a=array: float(a[0])) for array in (np.full(3, i) for i in range(50))
        }
    assert len(found) == 50


@pytest.mark.parametrize("preset", ["default", "bench"])
def test_a_frozen_network_answers_as_it_does_otherwise(preset: str) -> None:
    model = models.build(4, preset).eval()
    x = Tensor(np.random.default_rng(0).standard_normal((3, 1, 48, 48), np.float32))
    expected = model(x).numpy()
    with inference.frozen(model):
        for _ in range(2):
            np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_new_weights_are_seen_after_the_block() -> None:
    model = models.build(2)
    x = Tensor(np.ones((1, 1, 48, 48), np.float32))
    with inference.frozen(model):
        before = model(x).numpy()
    for parameter in model.parameters():
        parameter.data *= 2
    with inference.frozen(model):
        assert not np.allclose(model(x).numpy(), before)


def test_blocks_of_two_threads_that_overlap_know_nothing_of_each_other() -> None:
    """The one that ends last would otherwise put back what the other one had kept, for good."""
    make, weight = counting(), np.ones(3)
    second_began, first_ended = Event(), Event()

    def first() -> int:
        with frozen_weights():
            second_began.wait(10)
            made = derived("sum", (weight,), make)
        first_ended.set()
        return made

    def second() -> int:
        with frozen_weights():
            second_began.set()
            first_ended.wait(10)
            return derived("sum", (weight,), make)

    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(first), pool.submit(second)]
        assert [one.result() for one in made] == [1, 2]
    assert [derived("sum", (weight,), make), derived("sum", (weight,), make)] == [3, 4]
