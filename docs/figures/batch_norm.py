"""Chapter 8: two channels before and after normalization, and training with and without it."""

import numpy as np
from style import BLUE, GREY, ORANGE, Figure, figure

import minicnn
from minicnn import Tensor, nn, optim
from minicnn import functional as F
from minicnn.data import synthetic
from minicnn.nn import init


def losses(normalize: bool, lr: float) -> list[float]:
    """The loss over 40 steps of a network of three hidden layers on 280 drawn faces of 12x12 pixels."""
    images, labels = synthetic.draw_faces(280, seed=0)
    x = images.reshape(-1, 12, 4, 12, 4).mean(axis=(2, 4)).reshape(280, 144)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    minicnn.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (144, 48, 48):
        layers += [nn.Linear(inputs, 48), *([nn.BatchNorm1d(48)] if normalize else []), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            init.kaiming_normal(layer.weight)  # the best start without normalization: the comparison should be fair
    network = nn.Sequential(*layers, nn.Linear(48, 7)).double()
    optimizer = optim.SGD(network.parameters(), lr=lr)
    found = []
    for _ in range(40):
        loss = F.cross_entropy(network(Tensor(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def draw() -> Figure:
    """Histograms on the left, losses on the right."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 2)) * (0.3, 1.5) + (3.0, -2.0)
    after = nn.BatchNorm1d(2).double()(Tensor(x)).data
    drawn = figure(7.4, 2.4)
    before_axes, after_axes, loss_axes = drawn.subplots(1, 3, width_ratios=(1, 1, 1.3))
    for axes, values, title in ((before_axes, x, "two channels"), (after_axes, after, "normalized")):
        for channel, color in enumerate((BLUE, ORANGE)):
            axes.hist(values[:, channel], bins=np.linspace(-6, 6, 49), color=color, alpha=0.6)
        axes.set_title(title)
        axes.set_yticks([])
    for lr, style in ((0.1, "--"), (1.0, "-")):
        loss_axes.plot(losses(False, lr), color=GREY, ls=style, label=f"without, lr {lr:g}")
        loss_axes.plot(losses(True, lr), color=BLUE, ls=style, label=f"with, lr {lr:g}")
    loss_axes.set(title="loss", xlabel="step", ylim=(0, 3))
    loss_axes.legend(fontsize=7, frameon=False, loc="upper right")
    return drawn
