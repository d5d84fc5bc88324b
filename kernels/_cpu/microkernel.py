"""The matrix product at the heart of every CPU kernel: a few rows times a panel, held in the CPU's registers.

A plain loop over k loads and stores each result at every step, and reaches a tenth of the machine. Here 12 rows x 32
columns of results (with AVX-512) stay in 24 registers while k runs: each step loads 2 vectors of B and broadcasts 12
numbers of A for 24 vector multiply-adds. Compilers do not find this form in a loop, so it is written out in LLVM's
intermediate language. Source of the scheme: K. Goto, R. van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008.

Operands are packed in panels of PANEL numbers a row, so that all distances are constants:

    A  (chunks, rows, PANEL)   k runs along a row, then on to the next chunk
    B  (chunks, PANEL, PANEL)  k runs down the rows
    C  (rows, PANEL)

Addresses are integers in bytes; jumps and counts are in numbers.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels._cpu import vector
from minicnn.kernels._cpu.jit import compiled

PANEL, WIDTH = vector.PANEL, vector.width()
_ROWS, _VECTORS = vector.tile()
_COLUMNS = _VECTORS * WIDTH
_UNROLL = 4
_AHEAD = 1024
"""Numbers of B that are fetched before they are needed: memory takes as long as some 40 steps."""
TRANSPOSED_ROWS = 8 if WIDTH == 16 else 4  # divides PANEL

FLOAT, INT = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, WIDTH)


def _micro_kernel(rows: int, a_row: int, a_k: int, ahead: int = 0) -> Any:
    """C (rows, _COLUMNS) (+)= A @ B, with A[i, k] at a + i * a_row + k * a_k within a chunk."""

    @intrinsic
    def kernel(typing_context, a, b, c, chunks, steps, a_jump, b_jump, add):  # type: ignore[no-untyped-def]
        """`chunks` times `steps` times _UNROLL values of k; `add` keeps what C holds."""
        signature = types.void(*[types.intp] * 8)

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            a, b, c, chunks, steps, a_jump, b_jump, add = args
            c = builder.inttoptr(c, FLOAT.as_pointer())
            results = [[cgutils.alloca_once(builder, VECTOR) for _ in range(_VECTORS)] for _ in range(rows)]
            places = [(i, j, at(builder, c, i * PANEL + j * WIDTH)) for i in range(rows) for j in range(_VECTORS)]
            with builder.if_else(builder.icmp_signed("!=", add, INT(0))) as (then, otherwise):
                with then:
                    for i, j, place in places:
                        builder.store(builder.load(place, align=4), results[i][j])
                with otherwise:
                    for i, j, _ in places:
                        builder.store(VECTOR([0.0] * WIDTH), results[i][j])
            chunk_a = cgutils.alloca_once_value(builder, builder.inttoptr(a, FLOAT.as_pointer()))
            chunk_b = cgutils.alloca_once_value(builder, builder.inttoptr(b, FLOAT.as_pointer()))
            with cgutils.for_range(builder, chunks):
                first_a, first_b = builder.load(chunk_a), builder.load(chunk_b)
                with cgutils.for_range(builder, steps) as loop:
                    now_a = builder.gep(first_a, [builder.mul(loop.index, INT(a_k * _UNROLL))])
                    now_b = builder.gep(first_b, [builder.mul(loop.index, INT(PANEL * _UNROLL))])
                    for k in range(_UNROLL):
                        for line in range(0, _COLUMNS * 4, 64) if ahead else ():
                            fetch(builder, builder.gep(now_b, [INT(k * PANEL + line // 4 + ahead)]))
                        row = [
                            builder.load(at(builder, now_b, k * PANEL + j * WIDTH), align=4) for j in range(_VECTORS)
                        ]
                        for i in range(rows):
                            number = broadcast(builder, builder.load(builder.gep(now_a, [INT(k * a_k + i * a_row)])))
                            for j in range(_VECTORS):
                                result = results[i][j]
                                builder.store(multiply_add(builder, number, row[j], builder.load(result)), result)
                builder.store(builder.gep(first_a, [a_jump]), chunk_a)
                builder.store(builder.gep(first_b, [b_jump]), chunk_b)
            for i, j, place in places:
                builder.store(builder.load(results[i][j]), place, align=4)
            return context.get_dummy_value()

        return signature, generate

    return kernel


def fetch(builder: Any, pointer: Any) -> None:
    """Have the memory at `pointer` brought near, for whoever reads it later."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(prefetch, [builder.bitcast(pointer, byte), flag(0), flag(3), flag(1)])


def at(builder: Any, pointer: Any, offset: Any) -> Any:
    """The vector that starts `offset` numbers after `pointer`."""
    offset = INT(offset) if isinstance(offset, int) else offset
    return builder.bitcast(builder.gep(pointer, [offset]), VECTOR.as_pointer())


def multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """X * y + z, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f32"), [x, y, z])


def broadcast(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    undefined, first = ir.Constant(VECTOR, ir.Undefined), ir.IntType(32)
    lanes = ir.Constant(ir.VectorType(first, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(builder.insert_element(undefined, number, first(0)), undefined, lanes)


_all_rows, _three_quarters, _two_thirds, _one_third = (
    _micro_kernel(rows, PANEL, 1, _AHEAD) for rows in (_ROWS, _ROWS * 3 // 4, _ROWS * 2 // 3, _ROWS // 3)
)
_transposed = _micro_kernel(TRANSPOSED_ROWS, 1, PANEL)

SPARE_ROWS = _ROWS - 1
"""How many rows beyond its own a product may read of A and write of C: memory that must be there."""


@compiled
def product(a: int, b: int, c: int, rows: int, chunks: int, k: int, a_jump: int) -> None:
    """C = A @ B for any number of rows, `k` (a multiple of 4, at most PANEL) values in each chunk."""
    for column in range(0, PANEL, _COLUMNS):
        _b, _c, row = b + 4 * column, c + 4 * column, 0
        while row < rows:
            _a, here, left = a + 4 * PANEL * row, _c + 4 * PANEL * row, rows - row
            if left > _ROWS * 3 // 4:
                _all_rows(_a, _b, here, chunks, k // _UNROLL, a_jump, PANEL * PANEL, 0)
                row += _ROWS
            elif left > _ROWS * 2 // 3:  # 9 tiles or pixels are common: 3 x 3 of them
                _three_quarters(_a, _b, here, chunks, k // _UNROLL, a_jump, PANEL * PANEL, 0)
                row += _ROWS * 3 // 4
            elif left > _ROWS // 3:
                _two_thirds(_a, _b, here, chunks, k // _UNROLL, a_jump, PANEL * PANEL, 0)
                row += _ROWS * 2 // 3
            else:
                _one_third(_a, _b, here, chunks, k // _UNROLL, a_jump, PANEL * PANEL, 0)
                row += _ROWS // 3


@compiled
def transposed_product(a: int, b: int, c: int, chunks: int, rows: int, a_jump: int, b_jump: int, add: int) -> None:
    """C (PANEL, PANEL) (+)= A.T @ B, summed over `rows` (a multiple of 4) rows of A and B in each chunk."""
    for column in range(0, PANEL, _COLUMNS):
        for row in range(0, PANEL, TRANSPOSED_ROWS):
            _transposed(
                a + 4 * row,
                b + 4 * column,
                c + 4 * (row * PANEL + column),
                chunks,
                rows // _UNROLL,
                a_jump,
                b_jump,
                add,
            )
