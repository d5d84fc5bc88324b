"""Augmentation as loops: the definition."""

import math
from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array
from minicnn.kernels.augment import AMOUNTS


def forward(images: Array, amounts: Array, scale: float, shift: float, out: Array) -> None:
    """Fill `out` (B, 1, H, W) with the images that `amounts` (B, 14) chooses, changed as it says."""
    rows = amounts.view(AMOUNTS).reshape(-1)
    for b, i, j in np.ndindex(len(rows), *images.shape[1:]):
        row, partner = rows[b], rows[rows[b]["partner"]]
        value, other = (_pixel(images[one["image"]], one, i, j, scale, shift) for one in (row, partner))
        out[b, 0, i, j] = float(row["weight"]) * value + (1 - float(row["weight"])) * other


def _pixel(image: Array, row: Any, i: int, j: int, scale: float, shift: float) -> float:
    """Pixel (i, j) before mixing."""
    if row["top"] <= i < row["bottom"] and row["left"] <= j < row["right"]:
        return 0.0
    height, width = image.shape
    y = _mirrored(i + int(row["crop_down"]), height)
    x = _mirrored(j + int(row["crop_right"]), width)
    across = x - (width - 1) / 2 - float(row["warp_right"])
    down = y - (height - 1) / 2 - float(row["warp_down"])
    cos, sin = float(row["cos"]), float(row["sin"])
    column = min(max(cos * across - sin * down + (width - 1) / 2, 0), width - 1)
    line = min(max(sin * across + cos * down + (height - 1) / 2, 0), height - 1)
    top, left = math.floor(line), math.floor(column)
    value = 0.0
    for r, wr in ((top, 1 - (line - top)), (min(top + 1, height - 1), line - top)):
        for c, wc in ((left, 1 - (column - left)), (min(left + 1, width - 1), column - left)):
            level = image[r, width - 1 - c if row["flip"] else c]
            value += wr * wc * (float(level) * scale - shift)
    return value


def _mirrored(place: int, size: int) -> int:
    """A place outside of 0..size-1, seen in a mirror that stands on the edge pixel."""
    return min(abs(place), 2 * (size - 1) - place)
