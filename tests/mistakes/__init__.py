"""Mistakes that people make in a backward, planted in the engine to see whether the gradient checker rejects them.

A mistake is a function that stands in for one of the engine's, which it gets as its first argument.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

WRONG_SLOPE = "promise a slope"
"""What the checker says of wrong numbers."""


class Mistake(NamedTuple):
    """`wrong`, in place of `owner.attribute`, makes the check of `case` fail with a message that `says`."""

    case: str
    owner: Any
    attribute: str
    says: str
    wrong: Callable[..., Any]

    @property
    def name(self) -> str:
        """Readable name for the test."""
        return f"{self.case}, {self.wrong.__name__.strip('_').replace('_', ' ')}"

    def planted(self) -> Callable[..., Any]:
        """What stands in for the right function that is there now."""
        right = getattr(self.owner, self.attribute)
        return lambda *args: self.wrong(right, *args)


MISTAKES: list[Mistake] = []


def mistake(case: str, owner: Any, attribute: str = "backward", says: str = WRONG_SLOPE) -> Callable[..., Any]:
    """Plant the decorated function as `owner.attribute` in the check of `case` (of minicnn.apps.gradcheck)."""

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        MISTAKES.append(Mistake(case, owner, attribute, says, wrong))
        return wrong

    return register
