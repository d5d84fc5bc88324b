"""Chapter 5: what three small kernels see in a drawn face, and the window that slides over it."""

import numpy as np
from matplotlib.patches import Rectangle
from style import GREEN, GREY, ORANGE, Figure, figure

from minicnn import Tensor
from minicnn import functional as F
from minicnn.data import synthetic

KERNELS = {
    "bright below dark": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
    "bright right of dark": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "unlike its surroundings": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
}
ROW, COLUMN = 28, 17


def draw() -> Figure:
    """A face, three kernels and what they give."""
    images, labels = synthetic.draw_faces(70, seed=4)
    face = images[labels == 3][2].astype(float) / 255
    drawn = figure(7.4, 3.0)
    axes = drawn.subplots(2, 4, height_ratios=(1, 2.6))
    axes[0, 0].axis("off")
    axes[1, 0].imshow(face, cmap="gray", vmin=0, vmax=1)
    axes[1, 0].add_patch(Rectangle((COLUMN - 0.5, ROW - 0.5), 3, 3, fill=False, edgecolor=ORANGE, lw=1.2))
    axes[1, 0].set_title("x, and a window")
    for column, (name, kernel) in enumerate(KERNELS.items(), start=1):
        weight = np.array(kernel, float)
        top, bottom = axes[0, column], axes[1, column]
        top.imshow(weight, cmap="RdBu", vmin=-3, vmax=3)
        for (i, j), value in np.ndenumerate(weight):
            color = "white" if value > 1 else GREY if value == 0 else "black"
            top.text(j, i, f"{value:g}", ha="center", va="center", fontsize=7, color=color)
        response = F.conv2d(Tensor(face[None, None]), Tensor(weight[None, None])).data[0, 0]
        size = np.abs(response).max()
        bottom.imshow(response, cmap="RdBu", vmin=-size, vmax=size)
        bottom.add_patch(Rectangle((COLUMN - 0.5, ROW - 0.5), 1, 1, fill=False, edgecolor=GREEN, lw=1.2))
        bottom.set_title(name, fontsize=8)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    return drawn
