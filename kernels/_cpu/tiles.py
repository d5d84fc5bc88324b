"""The transforms of all tiles of a block of images. Each is compiled in one place only: written out, they are long."""

from minicnn.kernels._cpu import vector
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.plan import Plan
from minicnn.kernels._cpu.winograd import matrices, transform, whole_map_matrices
from minicnn.kernels.arrays import Array

PANEL, WIDTH = vector.PANEL, vector.width()

(_A2, _G2, _B2), (_A3, _G3, _B3), (_A6, _G6, _B6) = matrices(2), matrices(3), matrices(6)
_AW, _GW, _BW = whole_map_matrices()

_input2, _input3, _input6, _input_whole = (transform(b, reads_edges=True) for b in (_B2, _B3, _B6, _BW))
_result2, _result3, _result6, _result_whole = (transform(a, writes_edges=True, sums=True) for a in (_A2, _A3, _A6, _AW))
_grad2, _grad3, _grad6, _grad_whole = (transform(a.T, reads_edges=True) for a in (_A2, _A3, _A6, _AW))
_input_grad2, _input_grad3, _input_grad6, _input_grad_whole = (
    transform(b.T, writes_edges=True) for b in (_B2, _B3, _B6, _BW)
)
_weight2, _weight3, _weight6, _weight_whole = (transform(g) for g in (_G2, _G3, _G6, _GW))
_weight_grad2, _weight_grad3, _weight_grad6, _weight_grad_whole = (transform(g.T) for g in (_G2, _G3, _G6, _GW))


@compiled
def input_images(
    x: Array, v: Array, zeros: Array, plan: Plan, first: int, last: int, first_panel: int, last_panel: int
) -> None:
    """V = B^T x B for the tiles of images `first` to `last` (or to the end) of `x` (N, H, W, C), some panels of it."""
    m, side, across, channels = plan.m, plan.side, plan.across, plan.channels
    height, width, panel = plan.height, plan.width, plan.panel
    panels, row, column = channels // PANEL, width * channels, channels
    for n in range(first, min(last, plan.images)):
        base, t = _place(v, plan, n)
        for ty in range(plan.down):
            y0 = ty * m - plan.padding
            r0, r1 = max(0, -y0), min(m + 2, height - y0)
            for tx in range(across):
                x0 = tx * m - plan.padding
                c0, c1 = max(0, -x0), min(m + 2, width - x0)
                source = x.ctypes.data + 4 * ((n * height + y0) * row + x0 * column)
                for c in range(first_panel * PANEL, last_panel * PANEL, WIDTH):
                    target = base + 4 * (c // PANEL * panel + t * PANEL + c % PANEL)
                    arguments = (
                        source + 4 * c, row, column, target, side * panels * panel, panels * panel, r0, r1, c0, c1,
                        zeros.ctypes.data, 0,
                    )  # fmt: skip
                    if m == 6:
                        _input6(*arguments)
                    elif side == 5:
                        _input3(*arguments)
                    elif m == 3:
                        _input_whole(*arguments)
                    else:
                        _input2(*arguments)
                t += 1
        _clear_rows(v, plan, panels, n, first_panel, last_panel)


@compiled
def result_tiles(
    products: Array, y: int, image: int, row: int, column: int, statistics: Array, spare: Array, plan: Plan, block: int,
    slot: int, panels: int, first_panel: int,
) -> None:  # fmt: skip
    """Y = A^T products A for `panels` panels of outputs from `first_panel` on, and their sums and sums of squares.

    `y` is the address of the block's first image and of the first panel's first channel; `image`, `row` and `column`
    are distances there. `statistics` is (blocks, outputs / WIDTH, 2, WIDTH).
    """
    m, side, panel = plan.m, plan.side, plan.panel
    count = min(plan.block_images, plan.images - block * plan.block_images)
    base = products.ctypes.data + 4 * slot * products.shape[1]
    sums = statistics.ctypes.data + 4 * 2 * (block * plan.outputs + first_panel * PANEL)
    t = 0
    for n in range(count):
        for ty in range(plan.down):
            r1 = min(m, plan.out_height - ty * m)
            for tx in range(plan.across):
                c1 = min(m, plan.out_width - tx * m)
                target = y + 4 * (n * image + ty * m * row + tx * m * column)
                for c in range(0, panels * PANEL, WIDTH):
                    source = base + 4 * (c // PANEL * panel + t * PANEL + c % PANEL)
                    arguments = (
                        source, side * panels * panel, panels * panel, target + 4 * c, row, column, 0, r1, 0, c1,
                        spare.ctypes.data, sums + 8 * c,
                    )  # fmt: skip
                    if m == 6:
                        _result6(*arguments)
                    elif side == 5:
                        _result3(*arguments)
                    elif m == 3:
                        _result_whole(*arguments)
                    else:
                        _result2(*arguments)
                t += 1


@compiled
def grad_tiles(grad: int, dm: Array, zeros: Array, plan: Plan, n: int, ty: int) -> None:
    """DM = A grad A^T for a row of tiles, the `ty`-th of image `n`; `grad` is its address."""
    m, side, outputs = plan.m, plan.side, plan.outputs
    panels, panel = outputs // PANEL, plan.panel
    r1 = min(m, plan.out_height - ty * m)
    base, t = _place(dm, plan, n)
    base += 4 * (t + ty * plan.across) * PANEL
    for tx in range(plan.across):
        c1 = min(m, plan.out_width - tx * m)
        for c in range(0, outputs, WIDTH):
            arguments = (
                grad + 4 * (tx * m * outputs + c), plan.out_width * outputs, outputs,
                base + 4 * (c // PANEL * panel + tx * PANEL + c % PANEL), side * panels * panel, panels * panel,
                0, r1, 0, c1, zeros.ctypes.data, 0,
            )  # fmt: skip
            if m == 6:
                _grad6(*arguments)
            elif side == 5:
                _grad3(*arguments)
            elif m == 3:
                _grad_whole(*arguments)
            else:
                _grad2(*arguments)
    if ty == plan.down - 1:
        _clear_rows(dm, plan, panels, n, 0, panels)


@compiled
def input_grad_tiles(
    products: Array, dx: Array, spare: Array, plan: Plan, block: int, slot: int, panels: int, first_panel: int
) -> None:
    """Add B products B^T, tile by overlapping tile, to `panels` panels of channels of `dx` (N, H, W, C)."""
    m, side, height, width, channels = plan.m, plan.side, plan.height, plan.width, plan.channels
    panel = plan.panel
    row, column = width * channels, channels
    base = products.ctypes.data + 4 * slot * products.shape[1]
    first = block * plan.block_images
    t = 0
    for n in range(first, min(first + plan.block_images, plan.images)):
        for ty in range(plan.down):
            y0 = ty * m - plan.padding
            r0, r1 = max(0, -y0), min(m + 2, height - y0)
            for tx in range(plan.across):
                x0 = tx * m - plan.padding
                c0, c1 = max(0, -x0), min(m + 2, width - x0)
                target = dx.ctypes.data + 4 * ((n * height + y0) * row + x0 * column + first_panel * PANEL)
                for c in range(0, panels * PANEL, WIDTH):
                    source = base + 4 * (c // PANEL * panel + t * PANEL + c % PANEL)
                    arguments = (
                        source, side * panels * panel, panels * panel, target + 4 * c, row, column, r0, r1, c0, c1,
                        spare.ctypes.data, 0,
                    )  # fmt: skip
                    if m == 6:
                        _input_grad6(*arguments)
                    elif side == 5:
                        _input_grad3(*arguments)
                    elif m == 3:
                        _input_grad_whole(*arguments)
                    else:
                        _input_grad2(*arguments)
                t += 1


@compiled
def weight_tiles(plan: Plan, weight: int, u: int, position: int) -> None:
    """U = G weight G^T for a square of PANEL x PANEL channels: `weight` (3, 3, PANEL, PANEL), `position` apart in U."""
    m, side, square = plan.m, plan.side, PANEL * PANEL
    for c in range(0, square, WIDTH):
        arguments = (weight + 4 * c, 3 * square, square, u + 4 * c, side * position, position, 0, 0, 0, 0, 0, 0)
        if m == 6:
            _weight6(*arguments)
        elif side == 5:
            _weight3(*arguments)
        elif m == 3:
            _weight_whole(*arguments)
        else:
            _weight2(*arguments)


@compiled
def weight_grad_tiles(plan: Plan, du: int, position: int, grad: int) -> None:
    """The weight's gradient G^T dU G for a square of PANEL x PANEL channels, as (3, 3, PANEL, PANEL)."""
    m, side, square = plan.m, plan.side, PANEL * PANEL
    for c in range(0, square, WIDTH):
        arguments = (du + 4 * c, side * position, position, grad + 4 * c, 3 * square, square, 0, 0, 0, 0, 0, 0)
        if m == 6:
            _weight_grad6(*arguments)
        elif side == 5:
            _weight_grad3(*arguments)
        elif m == 3:
            _weight_grad_whole(*arguments)
        else:
            _weight_grad2(*arguments)


@compiled
def _place(blocks: Array, plan: Plan, n: int) -> tuple[int, int]:
    """The address of the block of image `n`, and the row of the image's first tile in it."""
    block = n // plan.block_images
    return blocks.ctypes.data + 4 * block * blocks.shape[1], n % plan.block_images * plan.down * plan.across


@compiled
def _clear_rows(blocks: Array, plan: Plan, panels: int, n: int, first_panel: int, last_panel: int) -> None:
    """After a block's last image, set its rows up to a multiple of 4 to zero: sums over rows then may include them."""
    if n % plan.block_images == plan.block_images - 1 or n == plan.images - 1:
        filled = (n % plan.block_images + 1) * plan.down * plan.across
        for position in range(plan.side**2):
            for panel in range(first_panel, last_panel):
                start = (position * panels + panel) * plan.panel
                for number in range(start + filled * PANEL, start + (filled + 3) // 4 * 4 * PANEL):
                    blocks[n // plan.block_images, number] = 0
