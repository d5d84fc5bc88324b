"""The sliding window that convolution and pooling share: kernel, stride, padding, dilation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minicnn.kernels.arrays import Array, array_module

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Where windows of `kernel` pixels lie over an image; each field is (vertical, horizontal), in pixels."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def output_size(self, height: int, width: int) -> Pair:
        """How many windows fit: (H + 2 padding - dilation (kernel - 1) - 1) // stride + 1 in each direction.

        Not positive where the image is smaller than one window. Source: torch.nn.Conv2d, "Shape".
        """
        rows, columns = (
            (size + 2 * self.padding[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1
            for axis, size in enumerate((height, width))
        )
        return rows, columns

    @property
    def element_dtype(self) -> type[np.signedinteger]:
        """The smaller of int16 and int32 that can number the elements of a window."""
        return np.int16 if self.kernel[0] * self.kernel[1] <= 1 << 15 else np.int32

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """`x` (..., H, W) with `padding` pixels of `value` on each side; `x` itself where there is none."""
        if self.padding == (0, 0):
            return x
        vertical, horizontal = self.padding
        shape = (*x.shape[:-2], x.shape[-2] + 2 * vertical, x.shape[-1] + 2 * horizontal)
        padded = array_module(x).full(shape, value, dtype=x.dtype)
        self.crop(padded)[...] = x
        return padded

    def crop(self, padded: Array) -> Array:
        """The view of a padded array (..., H + 2p, W + 2p) that leaves the padding out."""
        (vertical, horizontal), (height, width) = self.padding, padded.shape[-2:]
        return padded[..., vertical : height - vertical, horizontal : width - horizontal]

    def first_inside(self, rows: int, columns: int) -> Array:
        """The number of each window's first element that lies on the image and not on padding: (rows, columns)."""
        first = [
            -(-np.maximum(self.padding[axis] - self.stride[axis] * np.arange(count), 0) // self.dilation[axis])
            for axis, count in enumerate((rows, columns))
        ]
        return (first[0][:, None] * self.kernel[1] + first[1]).astype(self.element_dtype)

    def taps(self, rows: int, columns: int) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """For each element (i, j) of the kernel, the strided view of the padded image that it meets.

        Yields (i, j, (row slice, column slice)): `padded[..., *slices]` has shape (..., rows, columns) and holds,
        for every window, the pixel under element (i, j).
        """
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield i, j, (self._tap(0, i, rows), self._tap(1, j, columns))

    def _tap(self, axis: int, element: int, count: int) -> slice:
        start = element * self.dilation[axis]
        return slice(start, start + self.stride[axis] * (count - 1) + 1, self.stride[axis])
