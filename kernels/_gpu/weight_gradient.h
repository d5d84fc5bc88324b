// The gradient of a convolution's weight as one matrix product:
//
//   grad_weight[o][k] = sum over pixels of grad[pixel][o] * window[pixel][k],   k = (element of the window, channel)
//
// The sum is long and the result small, so blocks share the pixels between them; each writes sums of its own, and
// another kernel adds those up in order.
#pragma once
#include "convolution.h"

// Division of numbers below 2^31 by one that stays the same, as a multiplication; dividing would take ten times as
// long. Source: T. Granlund, P. Montgomery, "Division by invariant integers using multiplication", 1994.
struct Divider {
    u32 factor;
    int shift;
    __device__ __forceinline__ Divider(int by) {
        shift = 32 - __clz(by - 1);  // the least whose power of two is not below `by`
        factor = (u32)((1ull << (31 + shift)) / by + 1);
    }
    __device__ __forceinline__ int operator()(int number) const { return __umulhi(2 * (u32)number, factor) >> shift; }
};

// Copies tiles of some pixels (rows) by COLUMNS numbers of each; a thread copies the same chunk of several pixels.
template <class Math, int COLUMNS, int THREADS> struct ColumnPart {
    static constexpr int CHUNKS = COLUMNS / CHUNK<Math>;
    static constexpr int COUNT = STEP<Math> * CHUNKS / THREADS;
    static __device__ __forceinline__ int chunk() { return threadIdx.x % CHUNKS; }
    static __device__ __forceinline__ int row(int i) { return threadIdx.x / CHUNKS + i * (THREADS / CHUNKS); }
    static __device__ __forceinline__ u8* place(u8* tile, int i) {
        return tile + place_in_column<Math, COLUMNS>(row(i), chunk());
    }
};

// Of the gradient (pixels, outputs): `padded` outputs fill whole chunks.
template <class Math, int COLUMNS, int THREADS> struct GradientCopier {
    typedef typename Math::Number Number;
    typedef ColumnPart<Math, COLUMNS, THREADS> Mine;
    const Number *gradient, *from;
    int pixel, end, padded;
    bool wanted;

    __device__ __forceinline__ GradientCopier(const Number* gradient, int padded, int first_output, int first, int end)
        : gradient(gradient), pixel(first + Mine::row(0)), end(end), padded(padded) {
        const int output = first_output + Mine::chunk() * CHUNK<Math>;
        wanted = output < padded;
        from = gradient + (long long)pixel * padded + output;
    }
    __device__ __forceinline__ void copy(u8* tile) {
#pragma unroll
        for (int i = 0; i < Mine::COUNT; i++) {
            const int ahead = i * (THREADS / Mine::CHUNKS);
            const bool there = wanted && pixel + ahead < end;
            cp_async16(Mine::place(tile, i), there ? from + (long long)ahead * padded : gradient, there);
        }
        pixel += STEP<Math>, from += (long long)STEP<Math> * padded;
    }
};

// Of the windows: this thread's chunk is at one element of the window, the pixels go by.
template <class Math, int COLUMNS, int THREADS> struct PixelCopier {
    typedef typename Math::Number Number;
    typedef ColumnPart<Math, COLUMNS, THREADS> Mine;
    const Shape& s;
    const Number* images;
    const Divider by_width, by_height;
    int down, right, channel;  // from the first pixel under a window at (0, 0) to the one that this thread copies
    int pixel, end;
    bool wanted;

    __device__ __forceinline__ PixelCopier(const Number* images, const Shape& s, int first_k, int first, int end)
        : s(s), images(images), by_width(s.out_width), by_height(s.out_height), pixel(first + Mine::row(0)), end(end) {
        const int k = first_k + Mine::chunk() * CHUNK<Math>, element = k / s.channels;
        wanted = k < length_of_sum(s);
        channel = k % s.channels;
        down = element / s.kernel_width * s.dilation_y - s.padding_y;
        right = element % s.kernel_width * s.dilation_x - s.padding_x;
    }
    __device__ __forceinline__ void copy(u8* tile) {
#pragma unroll
        for (int i = 0; i < Mine::COUNT; i++) {
            const int p = pixel + i * (THREADS / Mine::CHUNKS), row = by_width(p), image = by_height(row);
            const int y = (row - image * s.out_height) * s.stride_y + down;
            const int x = (p - row * s.out_width) * s.stride_x + right;
            const bool there = wanted && p < end && inside(y, x, s);
            const Number* from = images + (((long long)image * s.height + y) * s.width + x) * s.channels + channel;
            cp_async16(Mine::place(tile, i), there ? from : images, there);
        }
        pixel += STEP<Math>;
    }
};

// The sums of one block: outputs x k, over the pixels from `first` to `end`.
template <class Math, class T>
MC_DEV void multiply_pixels(typename T::WarpSums& sums, const typename Math::Number* images,
                            const typename Math::Number* gradient, int padded, const Shape& s, int first_output,
                            int first_k, int first, int end) {
    MC_DYN_SMEM(shared);
    constexpr int TILE = T::ROWS * ROW_BYTES, STAGE = TILE + T::COLUMNS * ROW_BYTES;
    GradientCopier<Math, T::ROWS, T::THREADS> gradients(gradient, padded, first_output, first, end);
    PixelCopier<Math, T::COLUMNS, T::THREADS> windows(images, s, first_k, first, end);
    const int steps = (end - first + STEP<Math> - 1) / STEP<Math>;
    clear(sums);
    auto copy = [&](int step) {
        u8* tile = shared + step % STAGES * STAGE;
        if (step < steps) gradients.copy(tile), windows.copy(tile + TILE);
        cp_commit();
    };
    for (int step = 0; step < STAGES - 1; step++) copy(step);
    for (int step = 0; step < steps; step++) {
        cp_wait<STAGES - 2>();
        __syncthreads();  // everybody's copies of this step are there, and nobody reads the stage of the last step
        copy(step + STAGES - 1);
        const u8* tile = shared + step % STAGES * STAGE;
#pragma unroll(Math::PIXELS > 1 ? 2 : 1)
        for (int pixel = 0; pixel < STEP<Math>; pixel += Math::PIXELS)
            multiply_columns<T::ROWS, T::COLUMNS>(Math(), sums, tile, T::warp_row(), tile + TILE, T::warp_column(),
                                                  pixel);
    }
    cp_wait<0>();
}
