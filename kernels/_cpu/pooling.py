"""Where a pooling window meets its image."""

from minicnn.kernels._cpu.jit import compiled


@compiled
def inside(start: int, size: int, elements: int, dilation: int) -> tuple[int, int]:
    """The first of a window's elements that lies in an image, and the one after the last, along one direction.

    The window's `elements` lie at `start`, `start + dilation`, ...; the image at 0 to `size - 1`.
    """
    return max(-(start // dilation), 0), min(-((start - size) // dilation), elements)
