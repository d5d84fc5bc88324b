"""The progress bar of slow imports."""

import sys
from typing import Any

from tqdm import tqdm


def bar(total: int, unit: str, what: str, *, show: bool) -> "tqdm[Any]":
    """A bar on stderr that counts `total` units, silent unless `show`; a context manager with `update(n)`."""
    return tqdm(total=total, unit=unit, unit_scale=True, desc=what, file=sys.stderr, leave=False, disable=not show)
