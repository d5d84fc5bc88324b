"""The weight's gradient of one block of pixels after the other, compiled, and the bias's.

It is another product of matrices, outputs x pixels times pixels x window, so the micro-kernel sums over the pixels: its
rows are outputs, and its columns channels of one tap. Partial sums of some blocks each are added up in the end.
"""

from typing import Any

from minicnn.kernels._cpu import runs
from minicnn.kernels._cpu.conv_blocks import Block, View, bring, lay_out_windows, locate
from minicnn.kernels._cpu.cuts import COLUMNS
from minicnn.kernels._cpu.jit import compiled
from minicnn.kernels._cpu.parts import inlined
from minicnn.kernels._cpu.runs import address
from minicnn.kernels._cpu.strided import FEW_ROWS, NARROW, PANEL, ROWS, Steps, tiles
from minicnn.kernels.arrays import Array


@compiled
def weight_parts(
    x: Array, grad: Array, partial: Array, bias_sums: Array, scratch: Array, zeros: Array, plan: Array, splits: int,
    first: int, last: int,
) -> None:  # fmt: skip
    """Some partial sums, or rather, of each item's part the `item % splits`-th share of the outputs.

    `partial` is (parts, groups, outputs, taps, depth), outputs and depth rounded up to whole tiles, `bias_sums`
    (parts, O), and `plan` cuts.Work.numbers.
    """
    grid = plan[0]
    parts, groups, rows, taps, depth = partial.shape
    strips, outputs, upstream_line = rows // ROWS, grid.outputs, grid.across * grid.outputs
    for item in range(first, last):
        number, split = item // splits, item % splits
        first_block, last_block = number * grid.blocks // parts, (number + 1) * grid.blocks // parts
        first_strip, last_strip = split * groups * strips // splits, (split + 1) * groups * strips // splits
        bias_sum = address(bias_sums) + 4 * number * outputs
        if split == 0:
            runs.clear(bias_sum, 0, 1, outputs)
        for block_number in range(first_block, last_block):
            block = locate(block_number, grid)
            upstream = address(grad) + 4 * (block.line * upstream_line + block.column * outputs)
            view = bring(address(x), address(scratch), grid, block)
            for group in range(first_strip // strips, (last_strip + strips - 1) // strips):
                if grid.mode == COLUMNS:
                    lay_out_windows(address(x), address(scratch), grid, group, block)
                sums = address(partial) + 4 * (number * groups + group) * rows * taps * depth
                own_first, own_last = max(0, first_strip - group * strips), min(strips, last_strip - group * strips)
                add_block(
                    view, upstream, address(scratch) + 4 * grid.copied, address(zeros), sums, taps, depth, grid, block,
                    group, own_first, own_last, block_number == first_block,
                )  # fmt: skip
            if split == 0:
                for line in range(block.lines):
                    runs.add_up(upstream + 4 * line * upstream_line, outputs, bias_sum, block.columns, outputs)


@inlined
def add_block(
    view: View, upstream: int, copy: int, zeros: int, sums: int, taps: int, depth: int, grid: Any, block: Block,
    group: int, first_strip: int, last_strip: int, is_first: bool,
) -> None:  # fmt: skip
    """Add what a block gives to one group's `sums` (outputs, taps, depth), for some strips of ROWS outputs."""
    outputs, pixel, line = grid.group_outputs, grid.outputs, grid.across * grid.outputs
    upstream += 4 * group * outputs
    if outputs % ROWS != 0 and outputs % ROWS != FEW_ROWS:  # the last strip would read past the array's end
        pixel = (outputs + ROWS - 1) // ROWS * ROWS
        for i in range(block.lines):
            runs.copy(
                upstream + 4 * i * line,
                grid.outputs,
                copy + 4 * i * block.columns * pixel,
                pixel,
                block.columns,
                outputs,
            )
        upstream, line = copy, block.columns * pixel
    for channel in range(0, view.depth, PANEL):
        for strip in range(first_strip, last_strip):
            for i in range(view.taps_down):
                target = sums + 4 * ((strip * ROWS * taps + i * view.taps_across) * depth + channel)
                start, start_row, start_tile = target, taps * depth, depth
                if is_first:
                    start, start_row, start_tile = zeros, 0, 0
                steps = Steps(
                    1, view.lines, view.columns, 0, line, pixel, 1, 0, view.line, view.pixel, taps * depth, start_row,
                    view.taps_across, 0, view.tap_across, depth, start_tile,
                )  # fmt: skip
                source = view.first + 4 * (group * view.group + i * view.tap_down + channel)
                few, narrow = outputs - strip * ROWS <= FEW_ROWS, view.depth - channel <= NARROW
                tiles(few, narrow, steps, upstream + 4 * strip * ROWS, source, target, start)


@compiled
def add_parts(partial: Array, total: Array, weight: Array, groups: int, apart: int, first: int, last: int) -> None:
    """Add up the partial sums of outputs `first` to `last`, in order, and lay them out as (O, C / groups, elements).

    `partial` is (parts, rows of all groups, numbers), where one tap's numbers begin `apart` from the next one's.
    """
    rows, outputs = partial.shape[1] // groups, len(weight) // groups
    for output in range(first, last):
        row = output // outputs * rows + output % outputs
        for i in range(len(total)):
            total[i] = partial[0, row, i]
        for number in range(1, len(partial)):
            for i in range(len(total)):
                total[i] += partial[number, row, i]
        for channel in range(weight.shape[1]):
            for element in range(weight.shape[2]):
                weight[output, channel, element] = total[element * apart + channel]
