"""A matrix times one vector or a few: as fast as the matrix can be read, for each of its numbers is used only once.

A few rows at a time, so that several runs of memory are on their way at once and the vector is read less often. The
sums' order depends on the length alone.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels._cpu import crew
from minicnn.kernels._cpu.atomics import floats, pointer
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.microkernel import FLOAT, INT, VECTOR, WIDTH, at, multiply_add
from minicnn.kernels.arrays import Array

_ROWS = 4
_STEP = 2 * WIDTH
"""Numbers of a row at a time: sums of their own for each vector, which need not wait for each other."""
_PART = 16
"""Rows that a thread takes at once."""
_ARGUMENTS = crew.arguments("weight", "bias", "relu", "vectors", "rows", "length")


def kernel(weight: Array, bias: Array | None, vectors: int, relu: bool = False) -> crew.Kernel:
    """From (vectors, K) to (vectors, O): weighted sums by `weight` (O, K), plus `bias` (O,), cut at zero if `relu`.

    All C-contiguous float32.
    """
    weight, (rows, length) = np.ascontiguousarray(weight), weight.shape
    shift = np.zeros(rows, np.float32) if bias is None else bias
    numbers = (0, 0, crew.address(weight), crew.address(shift), relu, vectors, rows, length)
    return crew.Kernel(np.array([numbers], _ARGUMENTS), [weight, shift], (_rows, -(-rows // _PART)))


def _dots(rows: int) -> Any:
    """The products of `rows` rows, `distance` numbers apart, with a vector; `steps` times _STEP numbers of them."""

    @intrinsic
    def dots(typing_context, row, distance, vector, steps, result):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            row, distance, vector, steps, result = args
            row, vector, result = (builder.inttoptr(p, FLOAT.as_pointer()) for p in (row, vector, result))
            starts = [builder.gep(row, [builder.mul(distance, INT(i))]) for i in range(rows)]
            zero = VECTOR([0.0] * WIDTH)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(_STEP // WIDTH)] for _ in range(rows)]
            with cgutils.for_range(builder, steps) as loop:
                first = builder.mul(loop.index, INT(_STEP))
                for j in range(_STEP // WIDTH):
                    place = builder.add(first, INT(j * WIDTH))
                    factor = builder.load(at(builder, vector, place), align=4)
                    for i in range(rows):
                        number = builder.load(at(builder, starts[i], place), align=4)
                        builder.store(multiply_add(builder, number, factor, builder.load(sums[i][j])), sums[i][j])
            for i in range(rows):
                total = builder.load(sums[i][0])
                for more in sums[i][1:]:
                    total = builder.fadd(total, builder.load(more))
                builder.store(_total(builder, total), builder.gep(result, [INT(i)]))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 5), generate

    return dots


def _total(builder: Any, vector: Any) -> Any:
    """The sum of a vector's numbers, by halves."""
    half, index = WIDTH // 2, ir.IntType(32)
    undefined = ir.Constant(VECTOR, ir.Undefined)
    while half:
        lanes = ir.Constant(ir.VectorType(index, WIDTH), [(i + half) % WIDTH for i in range(WIDTH)])
        vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, lanes))
        half //= 2
    return builder.extract_element(vector, index(0))


_some_rows, _one_row = _dots(_ROWS), _dots(1)


@compiled
def _rows(arguments: int, part: int, slot: int) -> None:
    """Some rows of the matrix, and all vectors."""
    a = carray(pointer(arguments), (1,), _ARGUMENTS)[0]
    rows, length = a.rows, a.length
    steps, zero = length // _STEP, np.float32(0)
    x, y = floats(a.x, (a.vectors, length)), floats(a.y, (a.vectors, rows))
    weight, bias = floats(a.weight, (rows, length)), floats(a.bias, (rows,))
    row, last = part * _PART, min((part + 1) * _PART, rows)
    while row < last:
        here = _ROWS if last - row >= _ROWS else 1
        for n in range(a.vectors):
            w, v, r = a.weight + 4 * row * length, a.x + 4 * n * length, a.y + 4 * (n * rows + row)
            if here == _ROWS:
                _some_rows(w, length, v, steps, r)
            else:
                _one_row(w, length, v, steps, r)
            for o in range(row, row + here):
                value = y[n, o] + bias[o]
                for k in range(steps * _STEP, length):
                    value += weight[o, k] * x[n, k]
                y[n, o] = zero if a.relu and value < zero else value
        row += here
