"""Mistakes that people make in CUDA kernels, planted in the sources to see whether a check of results notices them.

A mistake is a piece of a source, or of a header that it includes, and what stands there instead.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

from minicnn.kernels._gpu.sources import HEADERS, Source
from tests.emulator.build import FileSource


class Mutant(NamedTuple):
    """`instead` of `text` in `file` must fail the check of `operation` (see kernel_checks.py)."""

    operation: str
    name: str
    file: str
    text: str
    instead: str

    def plant(self, folder: Path) -> FileSource:
        """A copy of the operation's source and all headers, with the mistake.

        Raises ValueError unless `text` is there exactly once: who changes a kernel changes its mistakes too.
        """
        shutil.copytree(HEADERS, folder, ignore=lambda _, names: [n for n in names if not n.endswith(".h")])
        source = shutil.copy(Source(self.operation).path, folder / "cuda.cu")
        path = folder / self.file
        before = path.read_text()
        if before.count(self.text) != 1:
            raise ValueError(f"{self.name}: {self.text!r} is in {self.file} {before.count(self.text)} times, not once")
        path.write_text(before.replace(self.text, self.instead))
        return FileSource(self.operation, Path(source))


def _in(operation: str, file: str, *mistakes: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(operation, name, file, text, instead) for name, text, instead in mistakes]


MATRIX = [
    *_in(
        "conv2d", "cuda.cu",
        ("no barrier before the sums are read", "    __syncthreads();\n    if (threadIdx.y > 0",
         "    if (threadIdx.y > 0"),
        ("threads end before the barrier", "    __shared__ float sums[8][32];\n",
         "    __shared__ float sums[8][32]; if (blockIdx.x * 32 + threadIdx.x >= channels) return;\n"),
        ("a partial sum is left out", "n < count; n++) total += partial[n * size + me];\n    if (sum_is_bf16)",
         "n < count - 1; n++) total += partial[n * size + me];\n    if (sum_is_bf16)"),
        ("blocks write over each other's sums",
         "    if (gridDim.z > 1) y = (float*)y + (long long)blockIdx.z * pixels * s.outputs;\n", ""),
        ("weights are not rounded", "to_10_bits ? __uint_as_float(to_tf32(value)) : value", "value"),
        ("the window is not turned round", "backwards ? elements - 1 - e : e", "e"),
    ),
    *_in(
        "conv2d", "convolution.h",
        ("no barrier between steps", "        __syncthreads();  // everybody's copies of this step", "        //"),
        ("waits for one group too few", "cp_wait<STAGES - 2>", "cp_wait<STAGES - 1>"),
        ("does not wait at the end", "    cp_wait<0>();\n", ""),
        ("copies into the stage that is read", "step % STAGES * STAGE;\n        if",
         "step % (STAGES - 1) * STAGE;\n        if"),
        ("no left edge", "(unsigned)x < (unsigned)s.width", "x < s.width"),
        ("pixels past the last", "if (pixel >= pixels) y[r] = -(1 << 30);", ""),
        ("weights past the last", "wanted && row < outputs_left", "wanted"),
        ("stages overlap", "STAGE = (T::ROWS + T::COLUMNS) * ROW_BYTES", "STAGE = T::ROWS * ROW_BYTES"),
    ),
    *_in(
        "conv2d", "neighborhood.h",
        ("no barrier", "        __syncthreads();  // everybody's copies for this step", "        //"),
        ("one row of zeros", "if (threadIdx.x < 2 * ROW_CHUNKS)", "if (threadIdx.x < ROW_CHUNKS)"),
        ("the halo is not there", "pixel = first_pixel - halo + row", "pixel = first_pixel + row"),
    ),
    *_in(
        "conv2d", "products.h",
        ("no swizzle where rows are read", "a + place_in_row(a_rows[i], half * 2 + lane() / 16)",
         "a + a_rows[i] * ROW_BYTES + ((half * 2 + lane() / 16) << 4)"),
        ("the wrong lanes give addresses", "b_row = lane() % 8 + lane() / 16 * 8", "b_row = lane() % 16"),
        ("operands are not rounded", "to_tf32(__uint_as_float(numbers[q]))", "numbers[q]"),
    ),
    *_in(
        "conv2d", "epilogue.h",
        ("lanes do not wait for each other", "    __syncwarp();\n", ""),
        ("warps do not wait for each other", "    __syncthreads();  // nobody reads the stages any more\n", ""),
        ("writes past the last pixel", "if (pixel >= pixels || output >= outputs)", "if (output >= outputs)"),
    ),
    *_in(
        "conv2d", "weight_gradient.h",
        ("pixels past the end", "wanted && pixel + ahead < end", "wanted"),
        ("windows leave the image", "wanted && p < end && inside(y, x, s)", "wanted && p < end"),
    ),
    *_in(
        "conv2d", "weight_gradient_3x3.h",
        ("no row of zeros", "if (threadIdx.x < ROW_CHUNKS) *(uint4*)", "if (false) *(uint4*)"),
        ("no barrier", "        __syncthreads();  // everybody's copies of this step", "        //"),
    ),
]  # fmt: skip

PASSES = [
    *_in(
        "batch_norm", "channel_sums.h",
        ("no barrier between halves", "        __syncthreads();\n        if (threadIdx.y < half) {",
         "        if (threadIdx.y < half) {"),
        ("memory is used again too early", "    __syncthreads();  // before anybody uses the memory again\n", ""),
        ("every block to the end", "min(rows, static_cast<int>(blockIdx.x + 1) * rows_each)", "rows"),
    ),
    *_in(
        "batch_norm", "normalization.h",
        ("the last block counts as full", "block < blocks - 1 ? one_over_full : one_over_last", "one_over_full"),
        ("the mean is not subtracted", "/ rows - *mean * *mean", "/ rows"),
    ),
    *_in(
        "conv_block", "cuda.cu",
        ("half a window at the edge", "inside(window, 3, height, width)", "inside(window, 0, height, width)"),
        ("what is below zero has a gradient", "            if (!(best[k] > 0)) chosen[k] = OFF;\n", ""),
        ("the pixel of another element", "chosen[k] == static_cast<u32>(e)", "chosen[k] == static_cast<u32>(3 - e)"),
    ),
    *_in(
        "conv_block", "first_layer.h",
        ("no barrier after loading", "    }\n    __syncthreads();\n}", "    }\n}"),
        ("no border", "j = at % across - 1", "j = at % across"),
        ("one warp's sums", "warp < threads / 32", "warp < 1"),
    ),
    *_in(
        "max_pool2d", "cuda.cu",
        ("windows leave the image", "py < 0 || py >= p.height || px < 0", "py >= p.height"),
        ("rows and columns are swapped", "chosen[k] = i * p.kernel_x + j;", "chosen[k] = j * p.kernel_x + i;"),
        ("a window too many", "wy >= p.down", "wy > p.down"),
        ("windows between windows", "from_left % p.stride_x || ", ""),
    ),
    *_in(
        "cross_entropy", "cuda.cu",
        ("half of the lanes", "distance = 16; distance > 0; distance /= 2) value = fmaxf",
         "distance = 8; distance > 0; distance /= 2) value = fmaxf"),
        ("rows past the last", "    if (row >= rows) return;  // the whole warp\n", ""),
        ("the gradient of another row", "grad[row] *", "grad[0] *"),
    ),
    *_in(
        "dropout", "cuda.cu",
        ("reads past the last", "first + k < size ? to_float(x[first + k]) : 0.f", "to_float(x[first + k])"),
        ("writes past the last", "if (first + k < size) store(", "store("),
        ("what is kept is not scaled", "value[k] * scale", "value[k]"),
    ),
    *_in(
        "rrelu", "cuda.cu",
        ("reads past the last", "first + k < size ? grad[first + k] : 0.f", "grad[first + k]"),
        ("writes past the last", "if (first + k < size) grad_x", "grad_x"),
        ("the number is that of the memory", "number_of(first + k, pixels, channels)", "first + k"),
        ("an image's channels count once", "pixel / pixels * channels +", "pixel / pixels +"),
        ("positive ones have slopes too", "sign[k] > 0.f ? 1.f :", "sign[k] > 1e9f ? 1.f :"),
    ),
    *_in(
        "reduce", "cuda.cu",
        ("reads past the last", "at + k < size ? x[at + k] : 0.f", "x[at + k]"),
        ("the first block alone", "block < blocks; block += blockDim.y", "block < 1; block += blockDim.y"),
    ),
    *_in(
        "reduce", "channel_sums.h",
        ("no barrier between halves", "        __syncthreads();\n        if (threadIdx.y < half) memory",
         "        if (threadIdx.y < half) memory"),
    ),
    *_in(
        "sgd", "cuda.cu",
        ("no look ahead", "slope + step.momentum * v : v", "slope : v"),
        ("vectors past the last", "aligned && at + 4 <= size", "aligned"),
        ("the first parameter twice", "blockIdx.y == 1 ? WHAT##1", "blockIdx.y == 1 ? WHAT##0"),
    ),
    *_in(
        "adam", "cuda.cu",
        ("no barrier before the scales are read", "    __syncthreads();\n    float* w", "    float* w"),
        ("decay twice", "decoupled ? 0.f : ", ""),
        ("elements past the last", "k < min(at + 4, size)", "k < at + 4"),
    ),
    *_in(
        "augment", "cuda.cu",
        ("the mirror stands beside the edge", "2 * (size - 1) - place", "2 * size - 1 - place"),
        ("pixels past the last", "    if (place >= height * width) return;\n", ""),
        ("the flip is one off", "right = width - 1 - right", "right = width - right"),
    ),
]  # fmt: skip

MUTANTS = MATRIX + PASSES
