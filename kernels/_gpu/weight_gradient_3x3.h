// The gradient of the weight of 3 x 3 windows with stride 1 whose output has the size of its input, with less to copy:
// in bfloat16, where copying is what takes the time.
//
// As in neighborhood.h, the pixels under an element of the window are the block's own pixels, a few further on. A block
// makes the sums of all nine elements for some channels, so each pixel of the images is copied once for all of them.
// Pixels go by in a ring in shared memory: it holds those from `halo` before the ones that are multiplied now to as far
// ahead as copies are in flight. Where an element lies outside of the image, a row of zeros stands in.
#pragma once
#include "weight_gradient.h"

// A block has 2 x 2 warps; each takes 32 outputs and, of all nine elements, 16 channels.
constexpr int NINE_OUTPUTS = 64, NINE_CHANNELS = 32, NINE_THREADS = 128;

struct NineSums {
    Sums<2, 2> of[3][3];
    static __device__ __forceinline__ int warp_output() { return threadIdx.x / 32 % 2 * 32; }
    static __device__ __forceinline__ int warp_channel() { return threadIdx.x / 64 * 16; }
};

// Sixteen pixels that begin at `pixel` of the gradient's tile. For the windows of lane % 16, `at` is where the ring has
// the pixel under their first element, and y and x are that pixel's; `size` is the ring's, in bytes.
MC_DEV void multiply_nine(NineSums& sums, const u8* gradient, int pixel, const u8* ring, int size, int at, int y, int x,
                          const Shape& s) {
    const int row = s.dilation_y * s.width * ROW_BYTES, column = s.dilation_x * ROW_BYTES;
    const int chunk = NineSums::warp_channel() / 8 + lane() / 16;
    u32 a[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++)
        ldsm4t(a[i], gradient + place_in_column<Bf16, NINE_OUTPUTS>(
                                    pixel + lane() % 8 + lane() / 16 * 8,
                                    (NineSums::warp_output() + i * 16) / 8 + lane() / 8 % 2));
#pragma unroll
    for (int i = 0; i < 3; i++)
#pragma unroll
        for (int j = 0; j < 3; j++) {
            const bool there = inside(y + i * s.dilation_y, x + j * s.dilation_x, s);
            u32 b[4];
            ldsm4t(b, ring + place_at(there ? (at + i * row + j * column) & (size - 1) : size, chunk));
#pragma unroll
            for (int m = 0; m < 2; m++)
#pragma unroll
                for (int n = 0; n < 2; n++) mma_bf16(sums.of[i][j].at[m][n], a[m], b + n * 2);
        }
}

// The sums of one block over the pixels from `first` to `end`, which is the last or a step's. `ring_rows`, a power of two, is at least the longest
// that pixels stay: STAGES steps and twice the halo.
MC_DEV void multiply_ring(NineSums& sums, const u16* images, const u16* gradient, int padded, const Shape& s,
                          int pixels, int ring_rows, int first_output, int first_channel, int first, int end) {
    MC_DYN_SMEM(shared);
    constexpr int TILE = NINE_OUTPUTS * ROW_BYTES, PIXELS = STEP<Bf16>, AT_ONCE = NINE_THREADS / ROW_CHUNKS;
    u8* const ring = shared + STAGES * TILE;
    const int halo = s.padding_y * s.width + s.padding_x, steps = (end - first + PIXELS - 1) / PIXELS;
    const int my_chunk = threadIdx.x % ROW_CHUNKS, my_row = threadIdx.x / ROW_CHUNKS;
    GradientCopier<Bf16, NINE_OUTPUTS, NINE_THREADS> gradients(gradient, padded, first_output, first, end);

    auto copy_pixel = [&](int row) {  // counted from the oldest of all
        const int pixel = first - halo + row;
        const bool there = pixel >= 0 && pixel < pixels;
        const u16* at = images + (long long)pixel * s.channels + first_channel + my_chunk * CHUNK<Bf16>;
        cp_async16(ring + place_in_row(row & (ring_rows - 1), my_chunk), there ? at : images, there);
    };
    auto copy = [&](int step) {  // as many pixels as there are threads for
        if (step < steps) gradients.copy(shared + step % STAGES * TILE), copy_pixel(2 * halo + step * AT_ONCE + my_row);
        cp_commit();
    };
    static_assert(AT_ONCE == PIXELS, "a step brings as many pixels as it multiplies");
    if (threadIdx.x < ROW_CHUNKS) *(uint4*)(ring + place_in_row(ring_rows, my_chunk)) = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int e = 0; e < 9; e++) clear(sums.of[e / 3][e % 3]);
    for (int row = my_row; row < 2 * halo; row += AT_ONCE) copy_pixel(row);
    for (int step = 0; step < STAGES - 1; step++) copy(step);
    const Divider by_width(s.width), by_height(s.height);
    for (int step = 0; step < steps; step++) {
        cp_wait<STAGES - 2>();
        __syncthreads();  // everybody's copies of this step are there, and nobody reads what the next ones overwrite
        copy(step + STAGES - 1);
#pragma unroll 1
        for (int part = 0; part < PIXELS; part += Bf16::PIXELS) {
            const int number = step * PIXELS + part + lane() % 16, pixel = first + number, row = by_width(pixel);
            const int y = row - by_height(row) * s.height, x = pixel - row * s.width;
            multiply_nine(sums, shared + step % STAGES * TILE, part, ring, ring_rows * ROW_BYTES, number * ROW_BYTES,
                          y - s.padding_y, x - s.padding_x, s);
        }
    }
    cp_wait<0>();
}

// Writes the sums to `to` (outputs, k).
MC_DEV void write_nine(const NineSums& sums, float* to, const Shape& s, int first_output, int first_channel) {
#pragma unroll
    for (int e = 0; e < 9; e++)
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int q = 0; q < 4; q += 2) {
                const int output = first_output + NineSums::warp_output() + row_of(i, q);
                if (output >= s.outputs) continue;
                float* place = to + ((long long)output * 9 + e) * s.channels + first_channel + NineSums::warp_channel();
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const float* pair = sums.of[e / 3][e % 3].at[i][j] + q;
                    *(float2*)(place + column_of(j, 0)) = make_float2(pair[0], pair[1]);
                }
            }
}
