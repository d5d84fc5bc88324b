"""Which source pixels each result pixel takes: the plan of a convolution and of its input's gradient.

The pixels to compute form a grid. Grid pixel (r, c) takes, for each tap (i, j), the source pixel

    (top + r * step_down + i * tap_down,  left + c * step_across + j * tap_across)      zero outside the image

and its result goes to (first_row + r * row_step, first_column + c * column_step) of the target. Forward, the taps are
the kernel's elements, a dilation apart, and steps are the stride.

The input's gradient is such a grid too, over the upstream gradient: input row y gets grad[r] * weight[i] wherever
r * stride + i * dilation - padding = y. Only elements i that leave the same remainder as y + padding when divided by
the stride take part, so there is one grid for each remainder; in the direction of r their order is reversed. Nothing
is added twice to the same place, so any thread may compute any pixel. (The usual way, first the products and then
col2im, has to add.)
"""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.windows import Windows


class Grid(NamedTuple):
    """Counts and distances, in pixels."""

    images: int
    height: int  # the source: rows, columns, channels
    width: int
    channels: int
    down: int  # the grid: rows, columns
    across: int
    top: int  # the first tap of grid pixel (0, 0)
    left: int
    step_down: int
    step_across: int
    taps_down: int
    taps_across: int
    tap_down: int
    tap_across: int
    out_height: int  # the target: rows, columns, channels
    out_width: int
    outputs: int
    first_row: int
    first_column: int
    row_step: int
    column_step: int
    groups: int
    group_channels: int
    group_outputs: int

    @property
    def taps(self) -> int:
        """How many source pixels a result takes."""
        return self.taps_down * self.taps_across

    @property
    def products(self) -> int:
        """Multiply-adds."""
        pixels = self.images * self.down * self.across
        return pixels * self.taps * self.groups * self.group_channels * self.group_outputs

    @property
    def needs_padding(self) -> bool:
        """Whether a tap lies outside the image."""
        bottom = self.top + (self.down - 1) * self.step_down + (self.taps_down - 1) * self.tap_down
        right = self.left + (self.across - 1) * self.step_across + (self.taps_across - 1) * self.tap_across
        return self.top < 0 or self.left < 0 or bottom >= self.height or right >= self.width

    @property
    def is_whole(self) -> bool:
        """Whether the grid's pixels are the target's, in the same order."""
        return (self.down, self.across) == (self.out_height, self.out_width)

    def flattened(self) -> "Grid":
        """All images as one row of pixels, where each result takes just the pixel that it replaces; else itself."""
        size = self.height, self.width
        if self.taps != 1 or (self.top, self.left) != (0, 0) or size != (self.down, self.across) or not self.is_whole:
            return self
        count = self.images * self.height * self.width
        return self._replace(
            images=1, height=1, width=count, down=1, across=count, out_height=1, out_width=count,
            step_down=1, step_across=1, row_step=1, column_step=1,
        )  # fmt: skip


class Gathering(NamedTuple):
    """A grid, and the kernel's element (number i * columns + j) that each tap meets."""

    grid: Grid
    elements: Array


@lru_cache(maxsize=256)
def forward_grid(x_shape: tuple[int, ...], outputs: int, windows: Windows, groups: int) -> Gathering:
    """The convolution of x (N, H, W, C)."""
    images, height, width, channels = x_shape
    size = windows.output_size(height, width)
    (up, left), elements = windows.padding, np.arange(windows.kernel[0] * windows.kernel[1])
    grid = Grid(
        images, height, width, channels, *size, -up, -left, *windows.stride, *windows.kernel, *windows.dilation, *size,
        outputs, 0, 0, 1, 1, groups, channels // groups, outputs // groups,
    )  # fmt: skip
    return Gathering(grid, elements)


@lru_cache(maxsize=256)
def input_gradient_grids(
    x_shape: tuple[int, ...], outputs: int, windows: Windows, groups: int
) -> tuple[Gathering, ...]:
    """The input's gradient (N, H, W, C) from the upstream one; together the grids cover every pixel once."""
    images, height, width, channels = x_shape
    source = images, *windows.output_size(height, width), outputs
    gatherings = []
    for first_row in range(min(windows.stride[0], height)):
        for first_column in range(min(windows.stride[1], width)):
            rows, top, tap_down = _meeting(windows, 0, first_row)
            columns, left, tap_across = _meeting(windows, 1, first_column)
            down, across = _count(height, first_row, windows.stride[0]), _count(width, first_column, windows.stride[1])
            # a single line or column has no next one: with a step of 1 the pixels follow each other in the target
            steps = (1 if down == 1 else windows.stride[0], 1 if across == 1 else windows.stride[1])
            grid = Grid(
                *source, down, across,
                top, left, 1, 1, len(rows), len(columns), tap_down, tap_across, height, width, channels,
                first_row, first_column, *steps, groups, outputs // groups, channels // groups,
            )  # fmt: skip
            elements = np.array([i * windows.kernel[1] + j for i in rows for j in columns], np.int64)
            gatherings.append(Gathering(grid, elements))
    return tuple(gatherings)


def _meeting(windows: Windows, axis: int, first: int) -> tuple[list[int], int, int]:
    """The kernel's elements that meet input rows `first`, `first` + stride, ...; their first upstream row and distance.

    The last element comes first: it meets the uppermost row.
    """
    stride, dilation = windows.stride[axis], windows.dilation[axis]
    place = first + windows.padding[axis]
    elements = [i for i in reversed(range(windows.kernel[axis])) if (place - i * dilation) % stride == 0]
    top = (place - elements[0] * dilation) // stride if elements else 0
    return elements, top, dilation // gcd(dilation, stride)


def _count(size: int, first: int, step: int) -> int:
    return -(-(size - first) // step)
