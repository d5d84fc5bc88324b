"""Chapter 16: the first questions that boosting asks, squares left in OpenCV's cascade, and finds that are merged."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from matplotlib.patches import Rectangle
from skimage import data
from style import BLUE, GREEN, ORANGE, Figure, figure

from minicnn.apps.detectors import find_cascade, make_detector
from minicnn.apps.faces import grey_levels
from minicnn.data import synthetic
from minicnn.device import Array

SIDE = 12
"""Pixels of the squares that boosting is shown."""


def total(table: Array, x: Any, y: Any, width: int, height: int) -> Array:
    """The sum over a rectangle of an integral image (H + 1, W + 1, ...)."""
    return table[y + height, x + width] - table[y, x + width] - table[y + height, x] + table[y, x]


def features() -> list[tuple[int, ...]]:
    """Those of two and three parts: the whole (x, y, width, height), then the part (..., weight)."""
    found = []
    for columns, rows in ((2, 1), (1, 2), (3, 1), (1, 3)):
        for width, height in product(range(columns, SIDE + 1, columns), range(rows, SIDE + 1, rows)):
            w, h = width // columns, height // rows
            for x, y in product(range(SIDE - width + 1), range(SIDE - height + 1)):
                part = (x + w * (columns // 3), y + h * (rows // 3), w, h)
                found.append((x, y, width, height, *part, max(columns, rows)))
    return found


def first_questions(count: int) -> tuple[Array, list[tuple[tuple[int, ...], int]]]:
    """The mean drawn face, and the features that boosting chooses first, each with the sign that faces have."""
    faces, _ = synthetic.draw_faces(400, 0)
    sheet = faces.reshape(20, 20, 48, 48).swapaxes(1, 2).reshape(960, 960)
    random = np.random.default_rng(0)
    corners = 48 * random.integers(0, 18, (400, 2)) + random.integers(12, 37, (400, 2))
    pieces = [sheet[top : top + 48, left : left + 48] for top, left in corners]
    small = np.concatenate([faces, pieces]).reshape(-1, SIDE, 4, SIDE, 4).mean(axis=(2, 4))
    tables = np.zeros((SIDE + 1, SIDE + 1, len(small)))
    tables[1:, 1:] = small.transpose(1, 2, 0).cumsum(axis=0).cumsum(axis=1)
    chosen = features()[::4]
    values = np.array([f[8] * total(tables, *f[4:8]) - total(tables, *f[:4]) for f in chosen]) / small.std(axis=(1, 2))
    y, weights, questions = np.repeat([1, -1], 400), np.full(800, 1 / 800), []
    order = values.argsort(axis=1)
    for _ in range(count):
        above = weights[y < 0].sum() + np.cumsum((weights * y)[order], axis=1)
        error = np.minimum(above, 1 - above)
        feature, place = np.unravel_index(error.argmin(), error.shape)
        sign = 1 if above[feature, place] < 0.5 else -1
        odds = 1 / error[feature, place] - 1
        right = np.where(values[feature] > values[feature, order[feature, place]], sign, -sign) == y
        weights *= np.where(right, 1 / np.sqrt(odds), np.sqrt(odds))
        weights /= weights.sum()
        questions.append((chosen[feature], sign))
    return faces.mean(axis=0), questions


def cascade() -> Iterator[tuple[float, list[tuple[list[list[int]], float, float, float]]]]:
    """OpenCV's stages: a threshold and stumps each."""
    root = ElementTree.parse(find_cascade()).find("cascade")
    rectangles = [[[int(float(n)) for n in r.text.split()] for r in f.find("rects")] for f in root.find("features")]
    for stage in root.find("stages"):
        stumps = []
        for stump in stage.find("weakClassifiers"):
            _, _, feature, split = stump.find("internalNodes").text.split()
            below, above = map(float, stump.find("leafValues").text.split())
            stumps.append((rectangles[int(feature)], float(split), below, above))
        yield float(stage.find("stageThreshold").text), stumps


def left_in_race(picture: Array) -> list[int]:
    """Squares of 24x24 pixels that are asked by each stage, and then those that pass the last."""
    tables = [cv2.integral(picture).astype(np.int64), cv2.integral(picture.astype(np.float64) ** 2)]
    y, x = (places.ravel() for places in np.mgrid[: picture.shape[0] - 23, : picture.shape[1] - 23])
    sums, squares = (total(table, x + 1, y + 1, 22, 22) for table in tables)
    spread = np.sqrt(484 * squares - sums**2)
    counts, left = [], spread > 4840
    for threshold, stumps in cascade():
        x, y, spread = x[left], y[left], spread[left]
        counts.append(len(x))
        votes = np.zeros(len(x))
        for rectangles, split, below, above in stumps:
            value = sum(weight * total(tables[0], x + dx, y + dy, w, h) for dx, dy, w, h, weight in rectangles)
            votes += np.where(value < split * spread, below, above)
        left = votes >= threshold
    return [*counts, int(left.sum())]


def people() -> Array:
    """Three drawn faces of different sizes on a gray ground, uint8 (150, 250)."""
    faces, _ = synthetic.draw_faces(700, 0)
    ground = np.tile(np.linspace(110, 150, 250), (150, 1)).astype(np.uint8)
    for number, x, y, side in ((17, 6, 12, 72), (40, 84, 50, 96), (54, 186, 20, 60)):
        ground[y : y + side, x : x + side] = cv2.resize(faces[number], (side, side), interpolation=cv2.INTER_CUBIC)
    return ground


def draw() -> Figure:
    """Questions, stages and boxes, from left to right."""
    drawn = figure(7.4, 2.6)
    grid = drawn.add_gridspec(2, 3, width_ratios=(1, 2.3, 2.9))
    mean, questions = first_questions(2)
    for row, (feature, sign) in enumerate(questions):
        axes = drawn.add_subplot(grid[row, 0])
        axes.imshow(mean, cmap="gray", extent=(0, SIDE, SIDE, 0))
        axes.axis("off")
        for (x, y, w, h), color in zip((feature[:4], feature[4:8]), (BLUE, ORANGE)[::sign], strict=True):
            axes.add_patch(Rectangle((x, y), w, h, facecolor=color, edgecolor="white", lw=0.8, alpha=0.7))
        axes.set_title(("asked first", "asked second")[row])
    axes = drawn.add_subplot(grid[:, 1])
    photograph = grey_levels(np.ascontiguousarray(data.astronaut()[:, :, ::-1]))
    counts = left_in_race(cv2.resize(photograph, (200, 200), interpolation=cv2.INTER_AREA))
    axes.semilogy(range(len(counts)), counts, "o-", color=BLUE, ms=3)
    axes.set(xlabel="stages passed", title="squares left, of a photograph")
    axes = drawn.add_subplot(grid[:, 2])
    picture = people()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set(xlim=(0, 250), ylim=(150, 0))
    axes.axis("off")
    axes.set_title("found, and merged")
    found = cv2.CascadeClassifier(str(find_cascade())).detectMultiScale(picture, 1.1, 0, minSize=(40, 40))
    finds = sorted(found.tolist())  # its threads give them in any order
    for boxes, color, width in ((finds, ORANGE, 0.5), (make_detector(smallest=40)(picture), GREEN, 2.0)):
        for x, y, w, h in boxes:
            axes.plot([x, x + w, x + w, x, x], [y, y, y + h, y + h, y], color=color, lw=width)
    return drawn
