"""What a hostile file must meet with: one line, before it costs memory."""

import tracemalloc
from collections.abc import Callable

import pytest

from minicnn.errors import UserError

MB = 1 << 20


def refusal(read: Callable[[], object], peak: int = 4 * MB) -> str:
    """The one line with which something is refused, having taken no more than `peak` bytes of Python's memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read()
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()
    assert str(caught.value).isprintable()
    return str(caught.value)
