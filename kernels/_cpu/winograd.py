"""Winograd's convolution: a tile of m x m results of a 3x3 window from (m + 2)^2 products instead of 9 m^2.

In one dimension, m results of a 3-tap filter g over m + 2 pixels d are

    y = A^T [(G g) * (B^T d)]

where * multiplies element by element and A, B, G hold powers of a few points (a filter is a product of polynomials;
evaluate both at m + 1 points and at infinity, multiply, interpolate). In two dimensions the matrices are applied from
both sides, and summed over channels the products become one matrix product for each of the (m + 2)^2 positions.
m = 6 needs 64 products where the definition needs 324. All of it is linear, so the gradients are the adjoints:

    forward    V = B^T d B     U = G g G^T      M = U V (matrices)   y  = A^T M A
    backward   dM = A dy A^T   dV = U^T dM      dd = B dV B^T        dU = dM V^T     dg = G^T dU G

Larger tiles save more and lose accuracy, since the points' powers grow: see kernels/conv2d/README.md for both.

A row of 3 pixels between zeros needs one product less, 4 instead of 5, see `whole_map_matrices`.
Sources: S. Winograd, "Arithmetic complexity of computations", 1980; A. Lavin, S. Gray, "Fast algorithms for
convolutional neural networks", 2016. The points are those usual since.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from minicnn.kernels._cpu.microkernel import FLOAT, INT, VECTOR, WIDTH, at, multiply_add
from minicnn.kernels.arrays import Array

HALF = Fraction(1, 2)
POINTS = {2: (0, 1, -1), 3: (0, 1, -1, 2), 6: (0, 1, -1, 2, -2, HALF, -HALF)}
"""The finite points for each tile size."""


def matrices(m: int) -> tuple[Array, Array, Array]:
    """A^T (m, m+2), G (m+2, 3) and B^T (m+2, m+2) in float64, from exact fractions."""
    points = [Fraction(p) for p in POINTS[m]]
    a_t = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    g, b_t = [], []
    for p in points:
        others = [q for q in points if q != p]
        distance = Fraction(1)
        for q in others:
            distance *= p - q
        g.append([p**k / distance for k in range(3)])
        b_t.append([*_polynomial(others), Fraction(0)])
    g.append([Fraction(0), Fraction(0), Fraction(1)])
    b_t.append(_polynomial(points))
    return np.array(a_t, float), np.array(g, float), np.array(b_t, float)


def whole_map_matrices() -> tuple[Array, Array, Array]:
    """The same for a row of 3 pixels d with a zero on either side: A^T (3, 4), G (4, 3), B^T (4, 3).

    With the order of the pixels turned round, the zeros leave a sum of Hankel matrices (equal along antidiagonals):

        y = (g0 H0 + g1 H1 + g2 H2) (d2, d1, d0)      H0 = 0 0 0   H1 = 0 0 1   H2 = 0 1 0
                                                           0 0 1        0 1 0        1 0 0
                                                           0 1 0        1 0 0        0 0 0

    and u u^T (d2, d1, d0) takes one product. Four vectors u span all three matrices: every symmetric matrix Q that is
    at right angles to the H satisfies Q = [[q, 0, -r/2], [0, r, 0], [-r/2, 0, s]], and x^2 = z^2, y^2 = xz + 5/4 z^2
    are two such conics u^T Q u = 0, which meet in just these points (x, y, z).
    """
    u = np.array([[1, 1.5, 1], [1, -1.5, 1], [-1, 0.5, 1], [-1, -0.5, 1]])
    # sums of g0 + g2 and g1 belong to the first pair, of g0 - g2 and g1 to the second
    g = np.array([[1 / 6, 1 / 4, 1 / 6], [-1 / 6, 1 / 4, -1 / 6], [1 / 2, -1 / 4, -1 / 2], [-1 / 2, -1 / 4, 1 / 2]])
    return u.T.copy(), g, u[:, ::-1].copy()


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [-root * c for c in coefficients] + [Fraction(0)]
        coefficients = [x + y for x, y in zip(shifted, scaled, strict=True)]
    return coefficients


def transform(matrix: Array, reads_edges: bool = False, writes_edges: bool = False, sums: bool = False) -> Any:
    """The two-sided transform T d T^t of a tile whose elements are vectors of channels, as straight-line code.

    The intrinsic's arguments are addresses in bytes, distances in numbers:

        source, source_row, source_column, target, target_row, target_column,
        first_row, last_row, first_column, last_column, spare, statistics

    Where a tile hangs over the image's edge, rows outside first_row <= i < last_row (columns likewise) are not there:
    with `reads_edges` they count as zero (`spare` points to zeros); with `writes_edges` they are not written (the
    results go to `spare`), and the others are added to what the target holds where there are no `sums`. With `sums`
    what is written is also summed, and its squares, at `statistics` and one vector later.
    """
    outputs, inputs = matrix.shape

    @intrinsic
    def tile(  # type: ignore[no-untyped-def]
        typing_context,
        source,
        source_row,
        source_column,
        target,
        target_row,
        target_column,
        r0,
        r1,
        c0,
        c1,
        spare,
        stats,
    ):
        signature = types.void(*[types.intp] * 12)

        def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source, source_row, source_column, target, target_row, target_column, r0, r1, c0, c1, spare, stats = args
            pointer = FLOAT.as_pointer()
            source, target, spare, stats = (builder.inttoptr(p, pointer) for p in (source, target, spare, stats))

            def element(base: Any, row: Any, column: Any, i: int, j: int, edges: bool) -> tuple[Any, Any]:
                offset = builder.add(builder.mul(row, INT(i)), builder.mul(column, INT(j)))
                place = builder.gep(base, [offset])
                if not edges:
                    return at(builder, place, 0), None
                inside = builder.and_(inside_rows[i], inside_columns[j])
                return at(builder, builder.select(inside, place, spare), 0), inside

            def within(first: Any, last: Any, count: int) -> list[Any]:
                return [
                    builder.and_(builder.icmp_signed("<=", first, INT(i)), builder.icmp_signed("<", INT(i), last))
                    for i in range(count)
                ]

            count = inputs if reads_edges else outputs
            inside_rows, inside_columns = within(r0, r1, count), within(c0, c1, count)
            half = []
            for j in range(inputs):
                column = [
                    builder.load(element(source, source_row, source_column, i, j, reads_edges)[0], align=4)
                    for i in range(inputs)
                ]
                half.append(_apply(builder, matrix, column))
            total = squares = VECTOR([0.0] * WIDTH)
            for i in range(outputs):
                row = _apply(builder, matrix, [column[i] for column in half])
                for j, value in enumerate(row):
                    place, inside = element(target, target_row, target_column, i, j, writes_edges)
                    if writes_edges and not sums:
                        value = builder.fadd(value, builder.load(place, align=4))
                    builder.store(value, place, align=4)
                    if sums:
                        value = builder.select(inside, value, VECTOR([0.0] * WIDTH))
                        total, squares = builder.fadd(total, value), multiply_add(builder, value, value, squares)
            if sums:
                for offset, value in ((0, total), (WIDTH, squares)):
                    place = at(builder, stats, offset)
                    builder.store(builder.fadd(value, builder.load(place, align=4)), place, align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _apply(builder: Any, matrix: Array, vectors: list[Any]) -> list[Any]:
    """Matrix @ vectors; zeros cost nothing, ones an addition."""
    results = []
    for coefficients in matrix:
        # ones first: the sum then starts without a multiplication
        order = sorted(np.flatnonzero(coefficients), key=lambda k: (abs(coefficients[k]) != 1, coefficients[k] < 0))
        total = None
        for k in order:
            c, x = float(coefficients[k]), vectors[k]
            if total is None:
                total = x if c == 1 else builder.fmul(x, VECTOR([c] * WIDTH))
            elif abs(c) == 1:
                total = (builder.fadd if c > 0 else builder.fsub)(total, x)
            else:
                total = multiply_add(builder, x, VECTOR([c] * WIDTH), total)
        results.append(total)
    return results
