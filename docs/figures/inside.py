"""Chapter 17: four views of one answer, and the filters of the first layer."""

import numpy as np
from style import Figure, figure

import minicnn
from minicnn import Tensor, nn, optim
from minicnn import functional as F
from minicnn.data import CLASSES, synthetic
from minicnn.device import Array

PAIR = [CLASSES.index(name) for name in ("neutral", "surprise")]
PATCH = 5


def faces() -> tuple[Array, Array]:
    """Neutral (0) and surprised (1) faces of 24x24 pixels, normalized."""
    images, labels = synthetic.draw_faces(2100, seed=0)
    keep = np.isin(labels, PAIR)
    x = images[keep].reshape(-1, 1, 24, 2, 24, 2).mean(axis=(3, 5))
    return (x - x.mean()) / x.std(), (labels[keep] == PAIR[1]).astype(np.int64)


def trained(x: Array, labels: Array) -> tuple[nn.Sequential, nn.Sequential]:
    """The feature maps' part and the head of a small network, after 150 steps."""
    minicnn.manual_seed(0)
    features = nn.Sequential(nn.ConvBlock(1, 6, 5, pool=2), nn.ConvBlock(6, 12), nn.ConvBlock(12, 12)).double()
    head = nn.Sequential(nn.GlobalAvgPool2d(), nn.Linear(12, 2)).double()
    optimizer = optim.Adam([*features.parameters(), *head.parameters()], lr=0.01)
    random = np.random.default_rng(0)
    for _ in range(150):
        batch = random.choice(500, 32, replace=False)
        loss = F.cross_entropy(head(features(Tensor(x[batch]))), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return features.eval(), head.eval()


def views(features: nn.Sequential, head: nn.Sequential, face: Array) -> tuple[Array, Array, Array]:
    """Gradient at the pixels, Grad-CAM, and what covering each place takes from the logit of surprise."""
    pixels = Tensor(face, requires_grad=True)
    head(features(pixels))[0, 1].backward()
    maps = Tensor(features(Tensor(face)).data, requires_grad=True)
    head(maps)[0, 1].backward()
    weights = maps.grad.mean(axis=(2, 3), keepdims=True)
    cam = np.maximum((weights * maps.data).sum(axis=1), 0)[0]
    covered = np.repeat(face, (24 - PATCH + 1) ** 2, axis=0)
    for number, (row, column) in enumerate(np.ndindex(24 - PATCH + 1, 24 - PATCH + 1)):
        covered[number, 0, row : row + PATCH, column : column + PATCH] = 0
    logits = head(features(Tensor(covered))).data[:, 1]
    lost = head(features(Tensor(face))).data[0, 1] - logits
    return np.abs(pixels.grad[0, 0]), cam, lost.reshape(24 - PATCH + 1, -1)


def draw() -> Figure:
    """A surprised face, three explanations, and six filters."""
    x, labels = faces()
    features, head = trained(x, labels)
    face = x[500:][labels[500:] == 1][3:4]
    gradient, cam, lost = views(features, head, face)
    drawn = figure(7.4, 3.2)
    top, bottom = drawn.subfigures(2, 1, height_ratios=(2.3, 1))
    panels = (
        (face[0, 0], "gray", "a surprised face"),
        (gradient, "magma", "gradient at the pixels"),
        (cam, "magma", "Grad-CAM"),
        (lost, "magma", "lost where covered"),
    )
    for axes, (image, colors, title) in zip(top.subplots(1, 4), panels, strict=True):
        axes.imshow(image, cmap=colors)
        axes.set_title(title)
        axes.axis("off")
    filters = features[0].state_dict()["conv.weight"][:, 0]
    for axes, weight in zip(bottom.subplots(1, 6), filters, strict=True):
        size = np.abs(weight).max()
        axes.imshow(weight, cmap="RdBu", vmin=-size, vmax=size)
        axes.axis("off")
    return drawn
