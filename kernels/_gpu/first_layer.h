// A block on images of one channel (3x3 convolution, padding 1), whose convolution's results are never stored.
//
// They are nine multiply-adds each and many times as large as the image, so that working them out again is quicker than
// reading them. Normalization has to know their mean and variance first, and these follow from the image alone: with s
// the sum of all 3x3 patches and P the sum of their outer products, the results of weights w sum to s.w and their
// squares to w.P.w. Backward likewise: of the gradient of the convolution's results,
//     scale * g - factor 1 - factor 2 * (result - mean),
// only the first term needs a pass over the images. See kernels/_cpu/first_layer.py.
//
// A block of (lanes, slots) threads has a strip of an image with its border in shared memory; a lane is V channels, and
// slots take turns in the pixels. Pooled, a pixel is a 2x2 window; else it is one of the four pixels of such a window.
#pragma once
#include "channel_sums.h"
#include "elements.h"

const u32 OFF = 4;        // the choice of a window whose output is not above zero
const int MOMENTS = 54;   // 45 products of pairs of taps, then the 9 taps
const int TAPS = 9;

struct Strip {  // of windows of 2x2: `rows` of them from `first` on
    int image, first, rows;
};

// The strips of an image follow each other; the last may be shorter.
MC_DEV Strip strip_of(int number, int height, int rows_each) {
    const int windows = (height + 1) / 2, strips = (windows + rows_each - 1) / rows_each;
    const int first = number % strips * rows_each;
    return {number / strips, first, min(rows_each, windows - first)};
}

// The strip's pixels with a border of one, and zeros where that is off the image, as rows of `width_of_tile`.
MC_DEV int width_of_tile(int width) { return (width + 1) / 2 * 2 + 2; }

MC_DEV void load_tile(const float* x, const Strip& strip, int height, int width, float* tile) {
    const int across = width_of_tile(width), size = (2 * strip.rows + 2) * across;
    for (int at = threadIdx.y * blockDim.x + threadIdx.x; at < size; at += blockDim.x * blockDim.y) {
        const int i = 2 * strip.first + at / across - 1, j = at % across - 1;
        const bool inside = i >= 0 && i < height && j >= 0 && j < width;
        tile[at] = inside ? x[(static_cast<long long>(strip.image) * height + i) * width + j] : 0.f;
    }
    __syncthreads();
}

// Adds the patches of a block's strips up: partial (blocks, MOMENTS).
MC_DEV void patch_moments(
    const float* x, int strips, int height, int width, int rows_each, float* partial, float* tile, float* warps) {
    const int across = width_of_tile(width), me = threadIdx.y * blockDim.x + threadIdx.x;
    const int threads = blockDim.x * blockDim.y;
    float sums[MOMENTS] = {};
    for (int number = blockIdx.x; number < strips; number += gridDim.x) {
        const Strip strip = strip_of(number, height, rows_each);
        load_tile(x, strip, height, width, tile);
        const int rows = min(2 * strip.rows, height - 2 * strip.first);
        for (int at = me; at < rows * width; at += threads) {
            const float* corner = tile + at / width * across + at % width;
            float patch[TAPS];
#pragma unroll
            for (int k = 0; k < TAPS; k++) patch[k] = corner[k / 3 * across + k % 3];
            int pair = 0;
#pragma unroll
            for (int a = 0; a < TAPS; a++) {
#pragma unroll
                for (int b = a; b < TAPS; b++) sums[pair++] += patch[a] * patch[b];
                sums[MOMENTS - TAPS + a] += patch[a];
            }
        }
        __syncthreads();  // before the next strip comes
    }
#pragma unroll
    for (int k = 0; k < MOMENTS; k++) {
        for (int distance = 16; distance > 0; distance /= 2) sums[k] += __shfl_xor_sync(~0u, sums[k], distance);
        if (me % 32 == 0) warps[me / 32 * MOMENTS + k] = sums[k];
    }
    __syncthreads();
    if (me < MOMENTS) {
        float sum = 0;
        for (int warp = 0; warp < threads / 32; warp++) sum += warps[warp * MOMENTS + me];
        partial[blockIdx.x * MOMENTS + me] = sum;
    }
}

MC_DEV double product_moment(const double* moments, int a, int b) {
    const int low = min(a, b), high = max(a, b);
    return moments[low * TAPS - low * (low - 1) / 2 + high - low];
}

// Mean and biased variance of a channel's results, from the sums of `count` patches. Patches less their mean, so that
// nothing cancels.
MC_DEV void first_statistics_of(const double* moments, double count, const float* weight, double* mean, double* var) {
    const double* total = moments + MOMENTS - TAPS;
    double sum = 0, squares = 0;
    for (int a = 0; a < TAPS; a++) {
        sum += total[a] * weight[a];
        for (int b = 0; b < TAPS; b++) {
            const double together = product_moment(moments, a, b) - total[a] * total[b] / count;
            squares += weight[a] * together * weight[b];
        }
    }
    *mean = sum / count;
    *var = fmax(squares / count, 0.);
}

// The results of one pixel's patch for V channels, normalized: taps are times scale, shift is beta - mean * scale.
template <int V> MC_DEV void convolve(float (*taps)[V], const float* shift, const float* patch, int across, float* value) {
#pragma unroll
    for (int k = 0; k < V; k++) value[k] = shift[k];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        const float pixel = patch[tap / 3 * across + tap % 3];
#pragma unroll
        for (int k = 0; k < V; k++) value[k] = fmaf(pixel, taps[tap][k], value[k]);
    }
}

// One strip: y (images, height/2, width/2, channels) and choice where pooled, else y (images, height, width, channels).
template <class T, int V, bool Pooled>
MC_DEV void first_forward(
    const float* x, const float* folded, const float* shifts, int height, int width, int channels, int rows_each, T* y,
    u8* choice, float* tile) {
    const Strip strip = strip_of(blockIdx.x, height, rows_each);
    load_tile(x, strip, height, width, tile);
    const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    if (channel >= channels) return;
    float taps[TAPS][V], shift[V];
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) load<V>(folded + tap * channels + channel, taps[tap]);
    load<V>(shifts + channel, shift);
    const int across = width_of_tile(width), windows = Pooled ? width / 2 : (width + 1) / 2;
    const int rows = Pooled ? min(strip.rows, height / 2 - strip.first) : strip.rows;
    for (int at = threadIdx.y; at < rows * windows; at += blockDim.y) {
        const int i = at / windows, j = at % windows;
        float best[V];
        u32 chosen[V] = {};
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float value[V];
            convolve<V>(taps, shift, tile + (2 * i + e / 2) * across + 2 * j + e % 2, across, value);
            if constexpr (Pooled) {
#pragma unroll
                for (int k = 0; k < V; k++) {
                    if (e == 0 || value[k] > best[k] || value[k] != value[k]) best[k] = value[k], chosen[k] = e;
                }
            } else {
                const int row = 2 * (strip.first + i) + e / 2, column = 2 * j + e % 2;
                if (row >= height || column >= width) continue;
#pragma unroll
                for (int k = 0; k < V; k++) {
                    if (value[k] < 0) value[k] = 0;  // NaN stays NaN
                }
                const long long place = (static_cast<long long>(strip.image) * height + row) * width + column;
                store<V>(y + place * channels + channel, value);
            }
        }
        if constexpr (Pooled) {
#pragma unroll
            for (int k = 0; k < V; k++) {
                if (!(best[k] > 0)) chosen[k] = OFF;
                if (best[k] < 0) best[k] = 0;
            }
            const long long row = static_cast<long long>(strip.image) * (height / 2) + strip.first + i;
            const long long place = (row * windows + j) * channels + channel;
            store<V>(y + place, best);
            if (choice) store_bytes<V>(choice + place, chosen);
        }
    }
}

// Sums of g * patch (9) and of g, where g is the gradient of an output that is above zero: partial (blocks, 10,
// channels). `y` says which those are where nothing is pooled, and `choice` where it is.
template <class T, int V, bool Pooled>
MC_DEV void first_gradient_sums(
    const float* x, const T* grad, const T* y, const u8* choice, int strips, int height, int width, int channels,
    int rows_each, float* partial, float* tile, float* memory) {
    const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * V, across = width_of_tile(width);
    const bool here = channel < channels;
    float sums[TAPS + 1][V] = {};
    for (int number = blockIdx.x; number < strips; number += gridDim.x) {
        const Strip strip = strip_of(number, height, rows_each);
        load_tile(x, strip, height, width, tile);
        const int size = Pooled ? 2 : 1, columns = width / size, first = Pooled ? strip.first : 2 * strip.first;
        const int rows = min(strip.rows * 2 / size, height / size - first);
        for (int at = threadIdx.y; here && at < rows * columns; at += blockDim.y) {
            const int i = at / columns, j = at % columns;
            const long long row = static_cast<long long>(strip.image) * (height / size) + first + i;
            const long long place = (row * columns + j) * channels + channel;
            const float* corner = tile + size * (i * across + j);
            float g[V], output[V];
            u32 chosen[V] = {};
            load<V>(grad + place, g);
            if constexpr (Pooled) {
                load_bytes<V>(choice + place, chosen);
            } else {
                load<V>(y + place, output);
            }
#pragma unroll
            for (int k = 0; k < V; k++) {
                if (Pooled ? chosen[k] == OFF : !(output[k] > 0)) continue;
                const float* patch = corner + chosen[k] / 2 * across + chosen[k] % 2;
#pragma unroll
                for (int tap = 0; tap < TAPS; tap++) sums[tap][k] += g[k] * patch[tap / 3 * across + tap % 3];
                sums[TAPS][k] += g[k];
            }
        }
        __syncthreads();  // before the next strip comes
    }
#pragma unroll
    for (int tap = 0; tap <= TAPS; tap++) {
        add_slots<V>(sums[tap], memory);
        if (here && threadIdx.y == 0) {
            store<V>(partial + (static_cast<long long>(blockIdx.x) * (TAPS + 1) + tap) * channels + channel, sums[tap]);
        }
    }
}

// From those sums, the gradients of a channel's weights, gamma and beta. `moments` are null in evaluation, where the
// statistics are constants. The results are linear in the patches, and so is the sum of g * result.
MC_DEV void first_gradients_of(
    const double* sums, const double* moments, double count, const float* weight, double gamma, double mean, double var,
    double eps, float* grad_weight, float* grad_gamma, float* grad_beta) {
    const double inverse = 1 / sqrt(var + eps), scale = gamma * inverse, sum_g = sums[TAPS];
    double product = 0;
    for (int tap = 0; tap < TAPS; tap++) product += sums[tap] * weight[tap];
    const double slope = (product - mean * sum_g) * inverse;
    *grad_gamma = static_cast<float>(slope);
    *grad_beta = static_cast<float>(sum_g);
    for (int tap = 0; tap < TAPS; tap++) {
        double grad = scale * sums[tap];
        if (moments) {
            double results = 0;  // the sum of (result - mean) * this tap's pixel
            for (int b = 0; b < TAPS; b++) results += product_moment(moments, tap, b) * weight[b];
            results -= mean * moments[MOMENTS - TAPS + tap];
            grad -= scale * (sum_g * moments[MOMENTS - TAPS + tap] + inverse * slope * results) / count;
        }
        grad_weight[tap] = static_cast<float>(grad);
    }
}
