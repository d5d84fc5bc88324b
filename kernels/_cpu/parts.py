"""Compiling functions that only compiled ones call: most of `compiled`'s time goes into making them callable by Python.

They are kept on disk with their callers.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def part(function: F) -> F:
    """Compile `function` once for all its callers: for what is called in many places."""
    return cast(
        F, numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    )


def inlined(function: F) -> F:
    """Compile `function` as if it were written out in its caller: for what is called in one place."""
    return cast(F, numba.njit(inline="always")(function))
