"""Chapter 1: the graph of (a b + a)^2 with values and gradients."""

from style import BLUE, GREY, ORANGE, Figure, arrow, bare, box, figure

from minicnn import Tensor


def draw() -> Figure:
    """Values from left to right, gradients from right to left."""
    a, b = Tensor(2.0, requires_grad=True), Tensor(-3.0, requires_grad=True)
    ((a * b + a) ** 2).backward()
    # gradients of what is in between, by starting from there
    c = Tensor((a * b).item(), requires_grad=True)
    ((c + a.detach()) ** 2).backward()
    d = Tensor((c + a.detach()).item(), requires_grad=True)
    loss = d**2
    loss_value = loss.item()
    loss.backward()

    drawn = figure(6.2, 2.5)
    axes = drawn.add_subplot()
    bare(axes, (-0.5, 6.6), (-0.65, 1.8))
    nodes = {
        "a": (0.0, 1.3, a.item(), a.grad),
        "b": (0.0, 0.0, b.item(), b.grad),
        "c = a b": (2.0, 0.0, c.item(), c.grad),
        "d = c + a": (4.0, 0.65, d.item(), d.grad),
        "L = d²": (6.0, 0.65, loss_value, 1.0),
    }
    for name, (x, y, value, grad) in nodes.items():
        box(axes, x, y, name)
        axes.text(x, y + 0.3, f"{value:g}", ha="center", color=BLUE)
        axes.text(x, y - 0.42, f"{float(grad):g}", ha="center", color=ORANGE)
    for start, end in (
        ("a", "c = a b"),
        ("b", "c = a b"),
        ("c = a b", "d = c + a"),
        ("a", "d = c + a"),
        ("d = c + a", "L = d²"),
    ):
        arrow(axes, nodes[start][:2], nodes[end][:2], GREY)
    axes.text(4.0, -0.5, "value", ha="center", color=BLUE)
    axes.text(5.2, -0.5, "gradient dL/d…", ha="center", color=ORANGE)
    return drawn
