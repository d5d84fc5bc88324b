// Convolution as one matrix product whose left matrix is never written down (an implicit GEMM).
//
//   y[pixel][o] = sum over k of window[pixel][k] * weight[o][k],   k = (element of the window, channel)
//
// Images have channels last, so that 16 bytes of a window are 16 bytes of an image: they are copied from there, or
// zeros where the window lies outside. A block multiplies a tile of pixels by a tile of outputs, STEP<Math> values of k
// at a time; while it multiplies, the tiles of the next steps are on their way (cp.async) into the other stages. A
// dense layer is the same with images of one pixel. Source: S. Chetlur et al., "cuDNN: efficient primitives for deep
// learning", 2014.
#pragma once
#include "products.h"

struct Shape {  // of a convolution
    int height, width, channels;  // of an image; channels fill whole chunks
    int out_height, out_width, outputs;
    int kernel_height, kernel_width;
    int stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};
// A launch hands over numbers alone, so every kernel lists them and puts them together.
#define SHAPE_PARAMETERS                                                                                         \
    int height, int width, int channels, int out_height, int out_width, int outputs, int kernel_height,          \
        int kernel_width, int stride_y, int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x
#define SHAPE                                                                                                    \
    Shape {                                                                                                      \
        height, width, channels, out_height, out_width, outputs, kernel_height, kernel_width, stride_y,          \
            stride_x, padding_y, padding_x, dilation_y, dilation_x                                               \
    }

MC_DEV int length_of_sum(const Shape& s) { return s.kernel_height * s.kernel_width * s.channels; }
MC_DEV bool inside(int y, int x, const Shape& s) {  // a negative number is a large one without its sign
    return (unsigned)y < (unsigned)s.height && (unsigned)x < (unsigned)s.width;
}

// A block of WARPS_M x WARPS_N warps that multiplies a tile of ROWS pixels by COLUMNS outputs. Warps of 64 x 64 read
// least from shared memory for what they multiply: 512 bytes for 8 x 8 products of fragments.
template <int WARPS_M, int WARPS_N, int WARP_COLUMNS> struct Tile {
    static constexpr int M = 4, N = WARP_COLUMNS / 8;  // fragments of a warp
    static constexpr int ROWS = WARPS_M * 64, COLUMNS = WARPS_N * WARP_COLUMNS, THREADS = WARPS_M * WARPS_N * 32;
    typedef Sums<M, N> WarpSums;
    static __device__ __forceinline__ int warp_row() { return threadIdx.x / 32 % WARPS_M * 64; }
    static __device__ __forceinline__ int warp_column() { return threadIdx.x / 32 / WARPS_M * WARP_COLUMNS; }
};

constexpr int STAGES = 4;

// The part of a tile that one thread copies: the same chunk of every THREADS / 4-th row.
template <int ROWS, int THREADS> struct Part {
    static constexpr int COUNT = ROWS * ROW_CHUNKS / THREADS;
    static __device__ __forceinline__ int chunk() { return threadIdx.x % ROW_CHUNKS; }
    static __device__ __forceinline__ int row(int i) { return threadIdx.x / ROW_CHUNKS + i * (THREADS / ROW_CHUNKS); }
    static __device__ __forceinline__ u8* place(u8* tile, int i) { return tile + place_in_row(row(i), chunk()); }
};

// Copies tiles of packed weights (outputs, k), step by step from `first` on.
template <class Math, int ROWS, int THREADS> struct WeightCopier {
    typedef typename Math::Number Number;
    typedef Part<ROWS, THREADS> Mine;
    const Number* from;
    int k, length, outputs_left;

    __device__ __forceinline__ WeightCopier(const Number* weight, const Shape& s, int first_output, int first) {
        k = first * STEP<Math> + Mine::chunk() * CHUNK<Math>;
        length = length_of_sum(s);
        outputs_left = s.outputs - first_output - Mine::row(0);
        from = outputs_left > 0 ? weight + (long long)(first_output + Mine::row(0)) * length : weight;
    }
    // The chunk at k = `at`, for who goes through k in an order of his own.
    __device__ __forceinline__ void copy_at(u8* tile, int at, bool wanted) {
#pragma unroll
        for (int i = 0; i < Mine::COUNT; i++) {
            const int row = i * (THREADS / ROW_CHUNKS);
            const bool there = wanted && row < outputs_left;
            cp_async16(Mine::place(tile, i), there ? from + (long long)row * length + at : from, there);
        }
    }
    __device__ __forceinline__ void copy(u8* tile) {
        copy_at(tile, k, k < length);
        k += STEP<Math>;
    }
};

// Copies tiles of windows: for any kernel, stride, padding and dilation.
template <class Math, int ROWS, int THREADS> struct WindowCopier {
    typedef typename Math::Number Number;
    typedef Part<ROWS, THREADS> Mine;
    const Shape& s;
    const Number *images, *from[Mine::COUNT];  // the first element of the window of each row; it may lie outside
    int y[Mine::COUNT], x[Mine::COUNT];
    int i, j, channel;  // where in the window the next chunk is

    __device__ __forceinline__ WindowCopier(const Number* images, const Shape& s, int first_pixel, int pixels,
                                            int first)
        : s(s), images(images) {
        const int k = first * STEP<Math> + Mine::chunk() * CHUNK<Math>, element = k / s.channels;
        i = element / s.kernel_width, j = element % s.kernel_width, channel = k % s.channels;
#pragma unroll
        for (int r = 0; r < Mine::COUNT; r++) {
            const int pixel = first_pixel + Mine::row(r), row = pixel / s.out_width;
            y[r] = row % s.out_height * s.stride_y - s.padding_y;
            x[r] = pixel % s.out_width * s.stride_x - s.padding_x;
            from[r] = images + (((long long)(row / s.out_height) * s.height + y[r]) * s.width + x[r]) * s.channels;
            if (pixel >= pixels) y[r] = -(1 << 30);  // outside, whatever the element of the window
        }
    }
    __device__ __forceinline__ void copy(u8* tile) {
        const int down = i * s.dilation_y, right = j * s.dilation_x;
        const int ahead = (down * s.width + right) * s.channels + channel;
#pragma unroll
        for (int r = 0; r < Mine::COUNT; r++) {
            const bool there = i < s.kernel_height && inside(y[r] + down, x[r] + right, s);
            cp_async16(Mine::place(tile, r), there ? from[r] + ahead : images, there);
        }
        channel += STEP<Math>;
        while (channel >= s.channels) {
            channel -= s.channels;
            if (++j == s.kernel_width) j = 0, i++;
        }
    }
};

// The sums of one block for `steps` steps from `first` on.
template <class Math, class T>
MC_DEV void multiply_windows(typename T::WarpSums& sums, const typename Math::Number* images,
                             const typename Math::Number* weight, const Shape& s, int first_pixel, int pixels,
                             int first_output, int first, int steps) {
    MC_DYN_SMEM(shared);
    constexpr int STAGE = (T::ROWS + T::COLUMNS) * ROW_BYTES;
    WindowCopier<Math, T::ROWS, T::THREADS> windows(images, s, first_pixel, pixels, first);
    WeightCopier<Math, T::COLUMNS, T::THREADS> weights(weight, s, first_output, first);
    int rows[T::M];
#pragma unroll
    for (int i = 0; i < T::M; i++) rows[i] = i * 16 + lane() % 16;
    clear(sums);
    auto copy = [&](int step) {
        u8* tile = shared + step % STAGES * STAGE;
        if (step < steps) windows.copy(tile), weights.copy(tile + T::ROWS * ROW_BYTES);
        cp_commit();  // an empty group too, so that the number of groups in flight tells which step has arrived
    };
    for (int step = 0; step < STAGES - 1; step++) copy(step);
    for (int step = 0; step < steps; step++) {
        cp_wait<STAGES - 2>();
        __syncthreads();  // everybody's copies of this step are there, and nobody reads the stage of the last step
        copy(step + STAGES - 1);
        const u8* tile = shared + step % STAGES * STAGE;
        multiply_rows(Math(), sums, tile + T::warp_row() * ROW_BYTES, rows,
                      tile + (T::ROWS + T::warp_column()) * ROW_BYTES);
    }
    cp_wait<0>();
}
