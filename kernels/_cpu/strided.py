"""A micro-kernel whose operands lie anywhere: microkernel.py's scheme with all distances as arguments.

It multiplies pixels where they are, without packing them first: the rows of A are pixels, and the distance between
them is that between windows. A few rows of results stay in registers while the sum runs over three nested loops, for a
convolution the kernel's rows, its columns, and the channels:

    C[i, j] = start[i, j] + sum over o, m, n of  A[o, m, i, n] * B[o, m, n, j]

The same code sums the weight's gradient, where the sum runs over image rows and pixels, and the rows are outputs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels._cpu import vector
from minicnn.kernels._cpu.microkernel import FLOAT, INT, VECTOR, WIDTH, broadcast
from minicnn.kernels._cpu.parts import inlined

PANEL = vector.PANEL
NARROW = 16
"""Columns of a narrow tile; a wide one has PANEL."""
ROWS, FEW_ROWS = {16: (8, 4), 8: (6, 2), 4: (6, 2)}[WIDTH]
_VECTORS = vector.tile()[1]
_COLUMNS = _VECTORS * WIDTH


class Steps(NamedTuple):
    """Counts of the three nested loops, and distances in numbers between what they meet; the same for several tiles."""

    outer: int
    middle: int
    inner: int
    a_outer: int
    a_middle: int
    a_inner: int
    a_row: int
    b_outer: int
    b_middle: int
    b_inner: int
    c_row: int
    start_row: int
    tiles: int
    a_tile: int
    b_tile: int
    c_tile: int
    start_tile: int


def micro_kernel(rows: int, vectors: int = 1, kind: Any = VECTOR, spread: bool = True) -> Any:
    """The code for tiles of `rows` x `vectors` results.

    Each number of A is spread over a vector. If not, A has vectors of its own: each channel for itself, no matrices.
    With `kind` FLOAT it works on single numbers.
    """

    @intrinsic
    def kernel(typing_context, steps, a, b, c, start):  # type: ignore[no-untyped-def]
        signature = types.void(steps, *[types.intp] * 4)

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            step = Steps(*cgutils.unpack_tuple(builder, args[0]))
            sums = [
                (step.outer, step.a_outer, step.b_outer),
                (step.middle, step.a_middle, step.b_middle),
                (step.inner, step.a_inner, step.b_inner),
            ]
            results = [cgutils.alloca_once(builder, kind) for _ in range(rows * vectors)]

            def matrix(pointer: Any, row: Any) -> list[Any]:
                """Where all vectors of a tile lie, row by row."""
                return [
                    at(builder, pointer, builder.add(builder.mul(row, INT(i)), INT(j * WIDTH)), kind)
                    for i in range(rows)
                    for j in range(vectors)
                ]

            def repeat(count: Any, moves: list[tuple[Any, Any]], body: Callable[..., None]) -> None:
                """Call `body` with each pointer, which is then moved by its distance."""
                now = [cgutils.alloca_once_value(builder, pointer) for pointer, _ in moves]
                for place, (pointer, _) in zip(now, moves, strict=True):
                    builder.store(pointer, place)  # once more: the first is done once for all loops around
                with cgutils.for_range(builder, count) as loop:
                    pointers = [builder.load(place) for place in now]
                    body(*pointers)
                    for place, pointer, (_, distance) in zip(now, pointers, moves, strict=True):
                        builder.store(builder.gep(pointer, [distance]), place)
                if not spread:
                    keep_rolled(builder.module, loop.index.incomings[-1][1].terminator)

            def add_products(a: Any, b: Any, level: int = 0) -> None:
                if level < len(sums):
                    count, a_step, b_step = sums[level]
                    repeat(count, [(a, a_step), (b, b_step)], lambda a, b: add_products(a, b, level + 1))
                    return
                columns = [builder.load(at(builder, b, INT(j * WIDTH), kind), align=4) for j in range(vectors)]
                for i in range(rows):
                    row = builder.mul(step.a_row, INT(i))
                    if spread:
                        factors = [broadcast(builder, builder.load(at(builder, a, row, FLOAT), align=4))] * vectors
                    else:
                        places = [at(builder, a, builder.add(row, INT(j * WIDTH)), kind) for j in range(vectors)]
                        factors = [builder.load(place, align=4) for place in places]
                    own = results[i * vectors : (i + 1) * vectors]
                    for factor, column, result in zip(factors, columns, own, strict=True):
                        builder.store(multiply_add(builder, factor, column, builder.load(result), kind), result)

            def one_tile(a: Any, b: Any, c: Any, start: Any) -> None:
                for place, result in zip(matrix(start, step.start_row), results, strict=True):
                    builder.store(builder.load(place, align=4), result)
                targets = matrix(c, step.c_row)
                for place in targets if spread else []:
                    fetch(builder, place)
                add_products(a, b)
                for place, result in zip(targets, results, strict=True):
                    builder.store(builder.load(result), place, align=4)

            pointers = [builder.inttoptr(address, FLOAT.as_pointer()) for address in args[1:]]
            distances = [step.a_tile, step.b_tile, step.c_tile, step.start_tile]
            repeat(step.tiles, list(zip(pointers, distances, strict=True)), one_tile)
            return context.get_dummy_value()

        return signature, generate

    return kernel


def at(builder: Any, pointer: Any, offset: Any, kind: Any) -> Any:
    """The vector or number that starts `offset` numbers after `pointer`."""
    return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())


def multiply_add(builder: Any, x: Any, y: Any, z: Any, kind: Any) -> Any:
    """X * y + z, rounded once."""
    name = "llvm.fma.f32" if kind is FLOAT else f"llvm.fma.v{WIDTH}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [x, y, z])


def keep_rolled(module: Any, branch: Any) -> None:
    """Forbid the compiler to unroll the loop that `branch` closes. It runs a few times only: once for each tap."""
    name = ir.MetaDataString(module, "llvm.loop.unroll.disable")
    loop = ir.MDValue(module, [module.add_metadata([name])], str(len(module.metadata)))
    loop.operands = (loop, *loop.operands)  # the form of loop metadata: the node itself comes first
    branch.set_metadata("llvm.loop", loop)


def fetch(builder: Any, pointer: Any) -> None:
    """Have the memory at `pointer` brought near for writing: stores would wait for it."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(prefetch, [builder.bitcast(pointer, byte), flag(1), flag(3), flag(1)])


_rows_wide, _few_wide = micro_kernel(ROWS, _VECTORS), micro_kernel(FEW_ROWS, _VECTORS)
_rows_narrow, _few_narrow = micro_kernel(ROWS, NARROW // WIDTH), micro_kernel(FEW_ROWS, NARROW // WIDTH)


@inlined
def tiles(few: bool, narrow: bool, steps: Steps, a: int, b: int, c: int, start: int) -> None:
    """Tiles of ROWS x PANEL results, or FEW_ROWS, or NARROW columns; the operands' addresses are in bytes."""
    if narrow and few:
        _few_narrow(steps, a, b, c, start)
    elif narrow:
        _rows_narrow(steps, a, b, c, start)
    else:
        for column in range(0, 4 * PANEL, 4 * _COLUMNS):
            if few:
                _few_wide(steps, a, b + column, c + column, start + column)
            else:
                _rows_wide(steps, a, b + column, c + column, start + column)
