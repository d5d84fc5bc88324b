"""Augmentation: from grey levels to normalized images that are each flipped, warped, cropped, erased and mixed.

Every rung has

    forward(images, amounts, scale, shift, out)

with `images` (N, H, W), uint8 or float32, of which `amounts` chooses a batch, and `out` float32 (B, 1, H, W) to be
filled. What happens to row b of the batch stands in row b of `amounts`, int32 (B, 14): the fields of AMOUNTS, drawn
beforehand, so that no rung needs random numbers and one small copy tells a GPU all of a batch.

    pixel (i, j) of row b:
        y = mirrored(i + crop_down), x = mirrored(j + crop_right)    at the border without repeating the edge pixel
        across = x - (W - 1) / 2 - warp_right, down = y - (H - 1) / 2 - warp_down
        column = cos * across - sin * down + (W - 1) / 2             clamped to 0..W-1
        row    = sin * across + cos * down + (H - 1) / 2             clamped to 0..H-1
        value  = bilinear of level * scale - shift between the four pixels around (row, column) of image `image`,
                 which is read from right to left where `flip` is 1; 0 inside the rectangle top..bottom, left..right
    out[b] = weight[b] * value[b] + (1 - weight[b]) * value[partner[b]]
"""

import numpy as np
from numpy.typing import NDArray

from minicnn.kernels.arrays import Array

AMOUNTS = np.dtype(
    [
        ("image", np.int32),  # number of the image
        ("flip", np.int32),  # 1 where it is mirrored left and right
        ("cos", np.float32),  # of the angle that it is turned by, divided by the zoom
        ("sin", np.float32),
        ("warp_right", np.float32),  # shift in pixels
        ("warp_down", np.float32),
        ("crop_right", np.int32),  # how far the window moves, in whole pixels; less than the image's size
        ("crop_down", np.int32),
        ("top", np.int32),  # the erased rectangle: its first row, and the first one after it
        ("bottom", np.int32),
        ("left", np.int32),
        ("right", np.int32),
        ("partner", np.int32),  # row of the batch that is mixed in
        ("weight", np.float32),  # of the row itself
    ]
)
"""What happens to one image, 14 words of 32 bits; `struct Amounts` of cuda.cu has the same fields."""

WORDS = AMOUNTS.itemsize // 4


def unchanged(n: int) -> NDArray[np.void]:
    """AMOUNTS (n,) that take the images 0..n-1 and do nothing to them."""
    amounts = np.zeros(n, AMOUNTS)
    amounts["image"] = amounts["partner"] = np.arange(n)
    amounts["cos"] = amounts["weight"] = 1
    return amounts


def words(amounts: NDArray[np.void]) -> NDArray[np.int32]:
    """AMOUNTS (B,) as the int32 (B, 14) that rungs take: CuPy knows no structures."""
    return amounts.view(np.int32).reshape(len(amounts), WORDS)


def fields(amounts: Array) -> dict[str, Array]:
    """The columns of int32 (B, 14) by name, each with its own dtype."""
    floats = amounts.view(np.float32)
    return {
        name: (amounts if AMOUNTS[name] == np.int32 else floats)[:, column]
        for column, name in enumerate(AMOUNTS.names or ())
    }
