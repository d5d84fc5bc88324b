"""Random cases of the operations without windows: arithmetic, shapes, activations, dense layers and losses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, integer_array_indices, mutually_broadcastable_shapes

from minicnn import Tensor
from minicnn import functional as F
from tests.properties.case import Array, Case, Operation, by_rows, distinct, numbers

Cases = Callable[[st.DrawFn], Case]
Shape = tuple[int, ...]

SIZES = st.integers(1, 5)


def shapes(draw: st.DrawFn, least: int = 0, most: int = 4, empty: bool = True) -> Shape:
    """A shape of `least` to `most` dimensions, whose first may be empty."""
    sizes = draw(st.lists(SIZES, min_size=least, max_size=most))
    if sizes and empty and draw(st.integers(0, 9)) == 9:
        sizes[0] = 0
    return tuple(sizes)


def elementwise(function: Callable[[Tensor], Tensor], low: float = -1.0, high: float = 1.0) -> Cases:
    def cases(draw: st.DrawFn) -> Case:
        shape = shapes(draw)
        case = Case(function, [numbers(draw, shape, low, high)])
        return by_rows(case) if shape else case

    return cases


def of_distinct(function: Callable[[Tensor], Tensor]) -> Cases:
    def cases(draw: st.DrawFn) -> Case:
        shape = shapes(draw)
        case = Case(function, [distinct(draw, shape)])
        return by_rows(case) if shape else case

    return cases


def pairs(function: Callable[[Tensor, Tensor], Tensor], low: float = -1.0) -> Cases:
    """Two inputs whose shapes are broadcast against each other."""

    def cases(draw: st.DrawFn) -> Case:
        a, b = draw(mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=4)).input_shapes
        return Case(function, [numbers(draw, a, low), numbers(draw, b, low)])

    return cases


def powers(draw: st.DrawFn) -> Case:
    return elementwise(partial(F.pow, exponent=draw(st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 2, 3]))), 0.5, 1.5)(draw)


def products(draw: st.DrawFn) -> Case:
    drawn = draw(mutually_broadcastable_shapes(signature="(m,k),(k,n)->(m,n)", min_side=0, max_side=4, max_dims=2))
    return Case(F.matmul, [numbers(draw, shape) for shape in drawn.input_shapes])


def axes(draw: st.DrawFn, ndim: int) -> Any:
    """None, an axis, or several; counted from either end."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    some = st.sets(st.integers(0, max(ndim - 1, 0)), max_size=ndim).map(lambda chosen: tuple(sorted(chosen)))
    return draw(st.none() | one | some)


def sums(draw: st.DrawFn) -> Case:
    shape = shapes(draw)
    options = {"axis": axes(draw, len(shape)), "keepdims": draw(st.booleans())}
    return Case(partial(F.sum, **options), [numbers(draw, shape)])


def means(draw: st.DrawFn) -> Case:
    shape = shapes(draw, empty=False)
    options = {"axis": axes(draw, len(shape)), "keepdims": draw(st.booleans())}
    return Case(partial(F.mean, **options), [numbers(draw, shape)])


def maxima(draw: st.DrawFn) -> Case:
    shape = shapes(draw, empty=False)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1)) if shape else None
    return Case(partial(F.max, axis=axis, keepdims=draw(st.booleans())), [distinct(draw, shape)])


def reshapes(draw: st.DrawFn) -> Case:
    shape = shapes(draw)
    other = draw(st.sampled_from([shape[::-1], (int(np.prod(shape)),), (1, *shape), (*shape, 1)]))
    return Case(partial(F.reshape, shape=other), [numbers(draw, shape)])


def flattenings(draw: st.DrawFn) -> Case:
    shape = shapes(draw, least=1)
    return Case(partial(F.flatten, start_axis=draw(st.integers(-len(shape), len(shape) - 1))), [numbers(draw, shape)])


def transpositions(draw: st.DrawFn) -> Case:
    shape = shapes(draw)
    order = draw(st.none() | st.permutations(range(len(shape))))
    if order is not None:
        order = [axis - len(shape) * draw(st.booleans()) for axis in order]
    return Case(partial(F.transpose, axes=order), [numbers(draw, shape)])


def paddings(draw: st.DrawFn) -> Case:
    shape, width = shapes(draw, least=1), st.tuples(st.integers(0, 2), st.integers(0, 2))
    return Case(partial(F.pad, width=[draw(width) for _ in shape]), [numbers(draw, shape)])


def joined(*tensors: Tensor, axis: int) -> Tensor:
    return F.concatenate(tensors, axis)


def concatenations(draw: st.DrawFn) -> Case:
    shape = list(shapes(draw, least=1))
    axis, inputs = draw(st.integers(-len(shape), len(shape) - 1)), []
    for _ in range(draw(st.integers(1, 3))):
        shape[axis] = draw(st.integers(0, 3))
        inputs.append(numbers(draw, tuple(shape)))
    return Case(partial(joined, axis=axis), inputs)


def indices(draw: st.DrawFn) -> Case:
    shape = shapes(draw, least=1, empty=False)
    mask = st.integers(0, 1 << 32).map(lambda seed: np.random.default_rng(seed).random(shape) < 0.5)
    index = draw(basic_indices(shape, allow_newaxis=True) | integer_array_indices(shape) | mask)
    return Case(lambda x: x[index], [numbers(draw, shape)])


def along_an_axis(function: Callable[..., Tensor]) -> Cases:
    def cases(draw: st.DrawFn) -> Case:
        shape = shapes(draw, least=1, empty=False)
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        case = Case(partial(function, axis=axis), [4 * numbers(draw, shape)])
        return case if axis % len(shape) == 0 else by_rows(case)

    return cases


def dropouts(draw: st.DrawFn) -> Case:
    return Case(partial(F.dropout, p=draw(st.sampled_from([0.1, 0.5, 0.9]))), [numbers(draw, shapes(draw))])


def dense(draw: st.DrawFn) -> Case:
    leading, features, outputs = shapes(draw, least=0, most=3), draw(st.integers(0, 9)), draw(SIZES)
    inputs = [numbers(draw, (*leading, features)), numbers(draw, (outputs, features)), numbers(draw, (outputs,))]
    case = Case(F.linear, inputs if draw(st.booleans()) else inputs[:2])
    return by_rows(case) if leading else case


def losses(function: Callable[..., Tensor], smoothing: bool) -> Cases:
    """Class numbers or probabilities, for rows or for images, with and without weights."""

    def cases(draw: st.DrawFn) -> Case:
        rows, classes, places = draw(SIZES), draw(SIZES), shapes(draw, most=2, empty=False)
        shape = (rows, classes, *places)
        random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
        labels: Array = random.integers(0, classes, (rows, *places))
        if draw(st.booleans()):
            labels = random.dirichlet(np.ones(classes), (rows, *places))
            labels = np.moveaxis(labels, -1, 1)
        weight = random.uniform(0.5, 1.5, classes) if draw(st.booleans()) else None
        options: dict[str, Any] = {"weight": weight}
        if smoothing:
            options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1]))
        reduction = draw(st.sampled_from(["mean", "sum", "none"]))
        return _loss(function, 4 * numbers(draw, shape), labels, options | {"reduction": reduction})

    return cases


def _loss(function: Callable[..., Tensor], logits: Array, labels: Array, options: dict[str, Any]) -> Case:
    case = Case(lambda x: function(x, labels, **options), [logits])
    if options["reduction"] != "none":
        return case
    return replace(case, rows=lambda part: _loss(function, logits[part], labels[part], options))


X, BOTH = ((0,),), ((0, 1),)

OPERATIONS = {
    "add": Operation(pairs(F.add), linear=BOTH, exact=True),
    "sub": Operation(pairs(F.sub), linear=BOTH, exact=True),
    "mul": Operation(pairs(F.mul), linear=((0,), (1,)), exact=True),
    "div": Operation(pairs(F.div, low=0.25), linear=X, exact=True),
    "neg": Operation(elementwise(F.neg), linear=X, exact=True, by_row=True),
    "pow": Operation(powers, by_row=True),
    "exp": Operation(elementwise(F.exp, -4, 4), by_row=True),
    "log": Operation(elementwise(F.log, 0.25, 4), by_row=True),
    "matmul": Operation(products, linear=((0,), (1,))),
    "sum": Operation(sums, "reduce", linear=X),
    "mean": Operation(means, "reduce", linear=X),
    "max": Operation(maxima, homogeneous=True, exact=True, repeats=False),
    "reshape": Operation(reshapes, linear=X, exact=True),
    "flatten": Operation(flattenings, linear=X, exact=True),
    "transpose": Operation(transpositions, linear=X, exact=True),
    "pad": Operation(paddings, linear=X, exact=True),
    "concatenate": Operation(concatenations, linear=(None,), exact=True),
    "getitem": Operation(indices, linear=X, exact=True),
    "relu": Operation(of_distinct(F.relu), homogeneous=True, exact=True, by_row=True),
    "leaky_relu": Operation(
        of_distinct(partial(F.leaky_relu, negative_slope=0.3)), homogeneous=True, exact=True, by_row=True
    ),
    "rrelu": Operation(of_distinct(F.rrelu), homogeneous=True, exact=True, by_row=True),
    "rrelu: training": Operation(
        lambda draw: replace(of_distinct(partial(F.rrelu, training=True))(draw), rows=None),
        homogeneous=True, exact=True, same_draw=False,
    ),
    "sigmoid": Operation(elementwise(F.sigmoid, -8, 8), by_row=True),
    "tanh": Operation(elementwise(F.tanh, -4, 4), by_row=True),
    "gelu": Operation(elementwise(F.gelu, -4, 4), by_row=True),
    "softmax": Operation(along_an_axis(F.softmax), by_row=True),
    "log_softmax": Operation(along_an_axis(F.log_softmax), by_row=True),
    "dropout": Operation(dropouts, "dropout", linear=X),
    "linear": Operation(dense, "linear", linear=((0, 2), (1, 2)), by_row=True),
    "cross_entropy": Operation(losses(F.cross_entropy, smoothing=True), "cross_entropy", by_row=True),
    "nll_loss": Operation(losses(F.nll_loss, smoothing=False), linear=X, by_row=True),
}  # fmt: skip
