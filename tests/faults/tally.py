"""How many faults of each kind were tried, and which were not survived."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from traceback import format_exception


@dataclass
class Tally:
    """Counts by kind, in the order in which kinds were first tried."""

    tried: dict[str, int] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def fault(self, kind: str, what: str) -> Iterator[None]:
        """One fault: it is survived unless the block raises."""
        self.tried[kind] = self.tried.get(kind, 0) + 1
        with self.also(kind, what):
            yield

    @contextmanager
    def also(self, kind: str, what: str) -> Iterator[None]:
        """Something more that must hold after the faults of a kind that were counted already."""
        try:
            yield
        except Exception as error:
            last = format_exception(error)[-2].strip().splitlines()[0]
            self.lost.setdefault(kind, []).append(f"{kind}: {what}: {error or type(error).__name__} ({last})")

    def failures(self) -> list[str]:
        """What was not survived."""
        return [line for lines in self.lost.values() for line in lines]

    def table(self) -> str:
        """A line for each kind."""
        width = max(map(len, self.tried), default=0)
        lines = [f"{'fault':{width}}  tried  survived"]
        for kind, tried in [*self.tried.items(), ("all", sum(self.tried.values()))]:
            lost = self.failures() if kind == "all" else self.lost.get(kind, [])
            lines.append(f"{kind:{width}}  {tried:5}  {tried - min(len(lost), tried):8}")
        return "\n".join(lines)
