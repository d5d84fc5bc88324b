"""Learning-rate schedules: where they start and end, how they move between, and what Plateau remembers."""

import itertools
import json
import math
from collections.abc import Callable

import pytest

from minicnn.schedule import Constant, Cosine, OneCycle, Plateau, Schedule, Step, Warmup


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.lr(step) for step in range(steps)]


def falls(values: list[float]) -> bool:
    return all(one > two for one, two in itertools.pairwise(values))


def rises(values: list[float]) -> bool:
    return falls(values[::-1])


def test_constant_stays() -> None:
    assert rates(Constant(0.3), 100) == [0.3] * 100


def test_step_multiplies_every_so_many_steps() -> None:
    assert rates(Step(0.8, every=3, gamma=0.5), 8) == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]


def test_step_falls_to_a_tenth_by_default() -> None:
    assert Step(1.0, every=10).lr(20) == pytest.approx(0.01)


def test_cosine_goes_from_base_over_the_middle_to_final_and_stays() -> None:
    cosine = Cosine(0.5, steps=10, final=0.1)
    assert cosine.lr(0) == 0.5
    assert cosine.lr(5) == pytest.approx(0.3)
    assert cosine.lr(10) == cosine.lr(1000) == pytest.approx(0.1)


def test_cosine_ends_at_zero_by_default_and_falls_all_the_way() -> None:
    cosine = Cosine(0.5, steps=20)
    assert falls(rates(cosine, 21))
    assert cosine.lr(20) == 0


def test_cosine_is_that_of_the_paper() -> None:
    assert Cosine(2.0, steps=7).lr(3) == pytest.approx(1 + math.cos(3 / 7 * math.pi))


def test_one_cycle_rises_to_the_peak_and_falls_below_where_it_began() -> None:
    cycle = OneCycle(1.0, steps=100)
    values = rates(cycle, 101)
    assert values[0] == pytest.approx(1 / 25)
    assert values.index(max(values)) == 30
    assert max(values) == 1.0
    assert rises(values[:31])
    assert falls(values[30:])
    assert values[100] == pytest.approx(1 / 25 / 1e4)


def test_one_cycle_peaks_where_it_is_told() -> None:
    values = rates(OneCycle(0.2, steps=50, rise=0.5, start_div=10, final_div=2), 51)
    assert values[0] == pytest.approx(0.02)
    assert values[25] == 0.2
    assert values[50] == pytest.approx(0.01)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps_never_passes_the_peak(steps: int) -> None:
    assert all(0 < rate <= 1.0 for rate in rates(OneCycle(1.0, steps), steps))


def test_warmup_rises_evenly_and_then_follows() -> None:
    assert rates(Warmup(Constant(0.4), steps=4), 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_warmup_scales_the_schedule_that_goes_on_beneath() -> None:
    cosine = Cosine(0.4, steps=20)
    warm = Warmup(cosine, steps=5)
    assert warm.lr(2) == pytest.approx(cosine.lr(2) * 3 / 5)
    assert rates(warm, 30)[4:] == rates(cosine, 30)[4:]


def test_no_warmup_is_the_schedule_itself() -> None:
    assert rates(Warmup(Cosine(0.4, 20), steps=0), 21) == rates(Cosine(0.4, 20), 21)


# Plateau


def after(plateau: Schedule, losses: list[float]) -> list[float]:
    seen = []
    for loss in losses:
        plateau.observe(loss)
        seen.append(plateau.lr(0))
    return seen


def test_plateau_keeps_the_rate_while_the_loss_falls() -> None:
    assert after(Plateau(0.4, patience=0), [3.0, 2.0, 1.0, 0.5]) == [0.4] * 4


def test_plateau_waits_for_more_than_patience_epochs_and_then_starts_to_count_anew() -> None:
    plateau = Plateau(0.4, factor=0.5, patience=2)
    assert after(plateau, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == [0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1]


def test_a_fall_makes_plateau_wait_anew() -> None:
    plateau = Plateau(0.4, patience=1)
    assert after(plateau, [1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 0.8]) == [0.4] * 6 + [0.2]


def test_a_fall_smaller_than_the_threshold_does_not_count() -> None:
    assert after(Plateau(0.4, patience=0, threshold=0.1), [1.0, 0.95])[-1] == 0.2
    assert after(Plateau(0.4, patience=0, threshold=0.1), [1.0, 0.89])[-1] == 0.4


def test_plateau_goes_no_lower_than_final() -> None:
    plateau = Plateau(0.4, factor=0.1, patience=0, final=0.01)
    assert after(plateau, [1.0] * 5) == pytest.approx([0.4, 0.04, 0.01, 0.01, 0.01])


def test_a_loss_that_is_no_number_is_no_fall() -> None:
    assert after(Plateau(0.4, patience=0), [1.0, math.nan])[-1] == 0.2


@pytest.mark.parametrize("wrap", [lambda inner: inner, lambda inner: Warmup(inner, 3)], ids=["alone", "warmed up"])
@pytest.mark.parametrize("stop", range(6))
def test_plateau_goes_on_from_its_state_as_if_it_had_not_stopped(
    stop: int, wrap: Callable[[Schedule], Schedule]
) -> None:
    losses = [1.0, 1.1, 0.9, 0.95, 0.91, 0.92, 0.5]
    whole, first, second = (wrap(Plateau(0.4, patience=1)) for _ in range(3))
    expected = after(whole, losses)
    after(first, losses[:stop])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert after(second, losses[stop:]) == expected[stop:]
    assert len(set(expected)) > 1


@pytest.mark.parametrize("schedule", [Constant(0.1), Step(0.1, 5), Cosine(0.1, 5), OneCycle(0.1, 5)])
def test_the_other_schedules_have_no_state_and_listen_to_nothing(schedule: Schedule) -> None:
    before = rates(schedule, 6)
    schedule.observe(math.inf)
    assert schedule.state_dict() == {}
    assert rates(schedule, 6) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0.1, every=0), "schedule: expected every of at least 1, got 0"),
        (lambda: Cosine(0.1, steps=0), "schedule: expected steps of at least 1, got 0"),
        (lambda: OneCycle(0.1, steps=-1), "schedule: expected steps of at least 1, got -1"),
    ],
)
def test_a_schedule_without_steps_is_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match="expected") as raised:
        make()
    assert str(raised.value) == message
