"""What a convolution does to one block of pixels, compiled: bring the source near, multiply, put the results away."""

from typing import Any, NamedTuple

from minicnn.kernels._cpu import runs
from minicnn.kernels._cpu.cuts import COLUMNS, PADDED
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.parts import inlined, part
from minicnn.kernels._cpu.runs import address
from minicnn.kernels._cpu.strided import FEW_ROWS, NARROW, PANEL, ROWS, Steps, tiles
from minicnn.kernels.arrays import Array


class Block(NamedTuple):
    """A rectangle of grid pixels: its first line (numbered through all images) and column, and its size."""

    line: int
    column: int
    lines: int
    columns: int


class View(NamedTuple):
    """Where a block's source pixels lie: an address in bytes, and distances in numbers.

    In COLUMNS a pixel is a whole window: all lines are one, and there is one tap.
    """

    first: int
    lines: int
    columns: int
    line: int
    pixel: int
    taps_down: int
    taps_across: int
    tap_down: int
    tap_across: int
    depth: int  # numbers of each tap
    group: int


@compiled
def convolve_blocks(
    x: Array, weight: Array, bias: Array, y: Array, scratch: Array, plan: Array, splits: int, first: int, last: int
) -> None:
    """Some blocks' results, or rather, of each item's block the `item % splits`-th share of the panels.

    `weight` is (groups * panels, depth, PANEL), `bias` (groups * panels, PANEL), and `plan` cuts.Work.numbers.
    """
    grid = plan[0]
    panels, depth = len(weight) // grid.groups, weight.shape[1]
    spare, copy = address(scratch), address(scratch) + 4 * ROWS * PANEL
    for item in range(first, last):
        block, split = locate(item // splits, grid), item % splits
        view = bring(address(x), copy, grid, block)
        for group in range(grid.groups):
            if grid.mode == COLUMNS:
                lay_out_windows(address(x), copy, grid, group, block)
            for panel in range(split * panels // splits, (split + 1) * panels // splits):
                number = group * panels + panel
                multiply(
                    view, address(weight) + 4 * number * depth * PANEL, address(bias) + 4 * number * PANEL,
                    address(y), spare, grid, block, group, panel * PANEL,
                )  # fmt: skip


@inlined
def locate(number: int, grid: Any) -> Block:
    """The rectangle of block `number`."""
    stretch, place = divmod(number, grid.blocks_down * grid.blocks_across)
    line, column = place // grid.blocks_across * grid.block_lines, place % grid.blocks_across * grid.block_columns
    return Block(
        stretch * grid.stretch + line, column, min(grid.block_lines, grid.stretch - line),
        min(grid.block_columns, grid.across - column),
    )  # fmt: skip


@inlined
def bring(x: int, copy: int, grid: Any, block: Block) -> View:
    """Where a block's pixels are; with PADDED, after copying what its windows span, edges and all, to `copy`."""
    if grid.mode == COLUMNS:
        depth = grid.taps_down * grid.taps_across * grid.group_channels
        return View(copy, 1, block.lines * block.columns, 0, depth, 1, 1, 0, 0, depth, 0)
    channels, image, row = grid.channels, block.line // grid.down, block.line % grid.down
    top, left = grid.top + row * grid.step_down, grid.left + block.column * grid.step_across
    first, width = x + 4 * ((image * grid.height + top) * grid.width + left) * channels, grid.width
    if grid.mode == PADDED:
        height = (block.lines - 1) * grid.step_down + (grid.taps_down - 1) * grid.tap_down + 1
        width = (block.columns - 1) * grid.step_across + (grid.taps_across - 1) * grid.tap_across + 1
        low = min(max(0, -left), width)
        high = max(low, min(grid.width - left, width))
        for i in range(height):
            source, target = first + 4 * i * grid.width * channels, copy + 4 * i * width * channels
            if top + i < 0 or top + i >= grid.height:
                runs.clear(target, channels, width, channels)
            else:
                runs.clear(target, channels, low, channels)
                runs.copy(
                    source + 4 * low * channels, channels, target + 4 * low * channels, channels, high - low, channels
                )
                runs.clear(target + 4 * high * channels, channels, width - high, channels)
        first = copy
    return View(
        first, block.lines, block.columns, grid.step_down * width * channels, grid.step_across * channels,
        grid.taps_down, grid.taps_across, grid.tap_down * width * channels, grid.tap_across * channels,
        grid.group_channels, grid.group_channels,
    )  # fmt: skip


@inlined
def lay_out_windows(x: int, copy: int, grid: Any, group: int, block: Block) -> None:
    """Copy one group's windows, one after the other, to `copy` (pixels, taps, channels)."""
    channels, depth = grid.group_channels, grid.taps_down * grid.taps_across * grid.group_channels
    x += 4 * group * channels
    for line in range(block.lines):
        image, row = (block.line + line) // grid.down, (block.line + line) % grid.down
        for i in range(grid.taps_down):
            y = grid.top + row * grid.step_down + i * grid.tap_down
            for j in range(grid.taps_across):
                left = grid.left + block.column * grid.step_across + j * grid.tap_across
                low, high = runs.inside(left, grid.step_across, grid.width, block.columns)
                if y < 0 or y >= grid.height:
                    low = high = 0
                target = copy + 4 * (line * block.columns * depth + (i * grid.taps_across + j) * channels)
                source = ((image * grid.height + y) * grid.width + left + low * grid.step_across) * grid.channels
                runs.clear(target, depth, low, channels)
                runs.copy(
                    x + 4 * source,
                    grid.step_across * grid.channels,
                    target + 4 * low * depth,
                    depth,
                    high - low,
                    channels,
                )
                runs.clear(target + 4 * high * depth, depth, block.columns - high, channels)


@inlined
def multiply(
    view: View, weight: int, bias: int, y: int, spare: int, grid: Any, block: Block, group: int, first: int
) -> None:
    """The results of a block, for one panel of a group's outputs from number `first` on."""
    outputs = min(PANEL, grid.group_outputs - first)
    channel, narrow = group * grid.group_outputs + first, outputs <= NARROW
    whole = outputs == (NARROW if narrow else PANEL)
    # a tile's pixels must lie at one distance in the target
    whole_lines = block.columns == grid.across == grid.out_width and grid.down == grid.out_height
    even = whole_lines or view.lines == block.lines
    taps_across, depth = view.taps_across, view.depth
    if view.tap_across == depth:  # side by side, as the weights are: one run of numbers
        taps_across, depth = 1, taps_across * depth
    step = grid.column_step * grid.outputs
    for line in range(view.lines):
        source = view.first + 4 * (group * view.group + line * view.line)
        target = y + 4 * (place(line * view.columns, grid, block) + channel)
        pixel = 0
        while pixel < view.columns:
            left = view.columns - pixel
            few = left <= FEW_ROWS
            rows = FEW_ROWS if few else ROWS
            count, there, row = 1, spare, PANEL
            direct = whole and even and left >= rows
            if direct:
                count, there, row = left // rows, target + 4 * pixel * step, step
            steps = Steps(
                view.taps_down, taps_across, depth, view.tap_down, view.tap_across, 1, view.pixel,
                taps_across * depth * PANEL, depth * PANEL, PANEL, row, 0, count, rows * view.pixel, 0, rows * step, 0,
            )  # fmt: skip
            tiles(few, narrow, steps, source + 4 * pixel * view.pixel, weight, there, bias)
            if not direct:
                for i in range(min(rows, left)):
                    to = place(line * view.columns + pixel + i, grid, block) + channel
                    runs.copy(spare + 4 * i * PANEL, 0, y + 4 * to, 0, 1, outputs)
            pixel += count * rows


@part
def place(pixel: int, grid: Any, block: Block) -> Any:
    """Where in the target the block's pixel of that number goes, in numbers from the start."""
    line, column = block.line + pixel // block.columns, block.column + pixel % block.columns
    row = line // grid.down * grid.out_height + grid.first_row + line % grid.down * grid.row_step
    to: int = (row * grid.out_width + grid.first_column + column * grid.column_step) * grid.outputs
    return to


@compiled
def pack_weight(weight: Array, elements: Array, packed: Array, groups: int, swap: bool, first: int, last: int) -> None:
    """Lay `weight` (O, C / groups, elements) out as some panels of (groups * panels, depth, PANEL).

    With `swap` the results are the input's channels, and the sum runs over the outputs.
    """
    panels, channels = len(packed) // groups, packed.shape[1] // len(elements)
    outputs = weight.shape[1] if swap else len(weight) // groups
    taps, row = weight.shape[2], weight.shape[1] * weight.shape[2]
    for number in range(first, last):
        group, base = number // panels, number % panels * PANEL
        width = min(PANEL, outputs - base)
        target = address(packed) + 4 * number * packed.shape[1] * PANEL
        if width < PANEL:
            runs.clear(target, PANEL, packed.shape[1], PANEL)
        source = group * channels * row + base * taps if swap else (group * outputs + base) * row
        for d in range(channels):
            for tap in range(len(elements)):
                there = source + d * (row if swap else taps) + elements[tap]
                runs.copy(
                    address(weight) + 4 * there,
                    taps if swap else row,
                    target + 4 * (tap * channels + d) * PANEL,
                    1,
                    width,
                    1,
                )
