"""Learning-rate schedules.

A schedule is a function of the number of steps taken (0 at the first), so that a resumed run needs no history;
Plateau alone, which listens to a measure, has a state.
"""

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """A learning rate for every step of training."""

    @abstractmethod
    def lr(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""

    def observe(self, loss: float) -> None:  # noqa: B027 - most schedules need not listen
        """Hear an epoch's validation loss."""

    def state_dict(self) -> dict[str, float]:
        """What `observe` changed."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:  # noqa: B027 - most schedules have none
        """Take over what `state_dict` gave."""


class Constant(Schedule):
    """The same rate throughout."""

    def __init__(self, base: float) -> None:
        self.base = base

    def lr(self, step: int) -> float:
        """The base rate."""
        return self.base


class Step(Schedule):
    """Multiply the rate by `gamma` every `every` steps."""

    def __init__(self, base: float, every: int, gamma: float = 0.1) -> None:
        self.base, self.every, self.gamma = base, _positive("every", every), gamma

    def lr(self, step: int) -> float:
        """Base * gamma^(step // every)."""
        return float(self.base * self.gamma ** (step // self.every))


class Cosine(Schedule):
    """Half a cosine from `base` at the first step down to `final` at step `steps`, and `final` from there on.

    Source: I. Loshchilov, F. Hutter, "SGDR", 2017, equation 5.
    """

    def __init__(self, base: float, steps: int, final: float = 0.0) -> None:
        self.base, self.steps, self.final = base, _positive("steps", steps), final

    def lr(self, step: int) -> float:
        """Final + (base - final) (1 + cos(pi step / steps)) / 2."""
        share = min(step / self.steps, 1.0)
        return self.final + (self.base - self.final) * (1 + math.cos(math.pi * share)) / 2


class OneCycle(Schedule):
    """Up by a cosine from peak / start_div to `peak`, then down by a longer one to peak / start_div / final_div.

    Source: L. Smith, N. Topin, "Super-convergence", 2018; defaults of torch.optim.lr_scheduler.OneCycleLR.
    """

    def __init__(
        self, peak: float, steps: int, rise: float = 0.3, start_div: float = 25.0, final_div: float = 1e4
    ) -> None:
        self.start = peak / start_div
        self.rise = max(1, round(rise * _positive("steps", steps)))
        self.up = Cosine(self.start, self.rise, peak)
        self.down = Cosine(peak, max(1, steps - self.rise), self.start / final_div)

    def lr(self, step: int) -> float:
        """The rate on the way up or down."""
        return self.up.lr(step) if step < self.rise else self.down.lr(step - self.rise)


class Warmup(Schedule):
    """Another schedule whose first `steps` steps rise linearly to it from near zero.

    Source: P. Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.
    """

    def __init__(self, schedule: Schedule, steps: int) -> None:
        self.schedule, self.steps = schedule, steps

    def lr(self, step: int) -> float:
        """The other schedule's rate times (step + 1) / steps, at most 1."""
        return self.schedule.lr(step) * min(1.0, (step + 1) / max(self.steps, 1))

    def observe(self, loss: float) -> None:
        """Pass it on."""
        self.schedule.observe(loss)

    def state_dict(self) -> dict[str, float]:
        """The other schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Give it to the other schedule."""
        self.schedule.load_state_dict(state)


class Plateau(Schedule):
    """Multiply the rate by `factor` when the loss has not fallen for more than `patience` epochs.

    A fall counts from a share of `threshold` on; the rate stays at least `final`. Source: torch's ReduceLROnPlateau.
    """

    def __init__(
        self, base: float, factor: float = 0.5, patience: int = 5, threshold: float = 1e-4, final: float = 0.0
    ) -> None:
        self.rate, self.factor, self.patience = base, factor, patience
        self.threshold, self.final = threshold, final
        self.best, self.waited = math.inf, 0

    def lr(self, step: int) -> float:
        """The rate after what was observed so far."""
        return self.rate

    def observe(self, loss: float) -> None:
        """Count an epoch without a fall, or start anew."""
        if loss < self.best * (1 - self.threshold):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.rate, self.waited = max(self.rate * self.factor, self.final), 0

    def state_dict(self) -> dict[str, float]:
        """Rate, best loss and epochs waited."""
        return {"rate": self.rate, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over what `state_dict` gave."""
        self.rate, self.best, self.waited = state["rate"], state["best"], int(state["waited"])


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"schedule: expected {name} of at least 1, got {value}")
    return value
