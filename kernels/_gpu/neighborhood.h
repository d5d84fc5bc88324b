// Convolution with stride 1 whose output has the size of its input, as most have, with less to copy.
//
// In memory, the pixel under an element of a window is as far from the window's own pixel wherever the window is. So a
// block copies the pixels of its tile and the `halo` of pixels before and after them once for each STEP<Math> channels,
// and multiplies them by the weights of one element of the window after another, each time a few rows further on. Where
// that leaves the image, a row of zeros stands in. Against convolution.h, a tile of 256 pixels of 48 x 48 images copies
// a sixth of their bytes; there it is the copying, not the multiplying, that takes the time.
#pragma once
#include "convolution.h"

struct Element {  // of a window: row, column, and its number
    int i = 0, j = 0, number = 0;
    __device__ __forceinline__ bool next(const Shape& s) {  // whether it was the last, and the first is next
        number++;
        if (++j == s.kernel_width) j = 0, i++;
        if (i < s.kernel_height) return false;
        i = number = 0;
        return true;
    }
};

// The sums of one block. Weights come in stages, one for each element of the window; neighborhoods in two halves of the
// rest of the shared memory, the next one bit by bit while the elements of this one are done.
template <class Math, class T>
MC_DEV void multiply_neighborhoods(typename T::WarpSums& sums, const typename Math::Number* images,
                                   const typename Math::Number* weight, const Shape& s, int first_pixel, int pixels,
                                   int first_output) {
    MC_DYN_SMEM(shared);
    typedef Part<T::ROWS, T::THREADS> Mine;
    constexpr int STAGE = T::COLUMNS * ROW_BYTES;
    const int halo = s.padding_y * s.width + s.padding_x, rows = T::ROWS + 2 * halo, zeros = rows;
    u8* const neighborhoods = shared + STAGES * STAGE;
    const int half = (rows + 2) / 2 * 2 * ROW_BYTES;  // whole turns of the banks
    const int elements = s.kernel_height * s.kernel_width, steps = s.channels / STEP<Math> * elements;
    // What is copied together with the weights of an element has arrived STAGES - 1 elements later.
    const int bits = elements - (STAGES - 2), rows_each = (rows + bits - 1) / bits;
    WeightCopier<Math, T::COLUMNS, T::THREADS> weights(weight, s, first_output, 0);

    auto copy_rows = [&](int group, int from, int to) {
        u8* tile = neighborhoods + group % 2 * half;
        for (int row = from + Mine::row(0); row < to; row += T::THREADS / ROW_CHUNKS) {
            const int pixel = first_pixel - halo + row;
            const bool there = pixel >= 0 && pixel < pixels;
            const int channel = group * STEP<Math> + Mine::chunk() * CHUNK<Math>;
            const typename Math::Number* at = images + (long long)pixel * s.channels + channel;
            cp_async16(tile + place_in_row(row, Mine::chunk()), there ? at : images, there);
        }
    };
    Element ahead;  // which weights to copy next, and for which group of channels
    int group_ahead = 0;
    auto copy_weights = [&](int step) {
        const int at = ahead.number * s.channels + group_ahead * STEP<Math> + Mine::chunk() * CHUNK<Math>;
        if (step < steps) weights.copy_at(shared + step % STAGES * STAGE, at, true);
        group_ahead += ahead.next(s);
    };

    // Of the pixels that this lane gives addresses of. Those past the last image are in one of zeros.
    int row[T::M], y[T::M], x[T::M];
#pragma unroll
    for (int i = 0; i < T::M; i++) {
        row[i] = T::warp_row() + i * 16 + lane() % 16;
        const int pixel = first_pixel + row[i];
        y[i] = pixel / s.width % s.height - s.padding_y;
        x[i] = pixel % s.width - s.padding_x;
    }
    if (threadIdx.x < 2 * ROW_CHUNKS)
        *(uint4*)(neighborhoods + threadIdx.x / ROW_CHUNKS * half + zeros * ROW_BYTES + Mine::chunk() * 16) =
            make_uint4(0, 0, 0, 0);
    clear(sums);
    copy_rows(0, 0, rows);
    for (int step = 0; step < STAGES - 1; step++) {
        copy_weights(step);
        cp_commit();
    }
    Element now;
    int group = 0;
    for (int step = 0; step < steps; step++) {
        cp_wait<STAGES - 2>();
        __syncthreads();  // everybody's copies for this step are there, and nobody reads what the next ones overwrite
        copy_weights(step + STAGES - 1);
        if (now.number < bits && (group + 1) * STEP<Math> < s.channels)
            copy_rows(group + 1, now.number * rows_each, min(rows, (now.number + 1) * rows_each));
        cp_commit();
        const int down = now.i * s.dilation_y, right = now.j * s.dilation_x;
        int under[T::M];
#pragma unroll
        for (int i = 0; i < T::M; i++)
            under[i] = inside(y[i] + down, x[i] + right, s) ? row[i] + down * s.width + right : zeros;
        multiply_rows(Math(), sums, neighborhoods + group % 2 * half, under,
                      shared + step % STAGES * STAGE + T::warp_column() * ROW_BYTES);
        group += now.next(s);
    }
    cp_wait<0>();
}
