// What a block does after its convolution and before the convolution's gradients, in one pass over memory each way.
//
// Arrays are channels-last: `convolved` (images, height, width, channels), and y, choice and peak of the pooled size.
// `choice` is which pixel of its window was the largest, 0 to 3, or OFF where the output is not above zero, so that it
// has no gradient; `peak` is what that pixel was before normalization. So a pass over the small pooled arrays gives the
// sums that every pixel's gradient depends on, and only the last pass reads the convolution's results again.
#include "first_layer.h"
#include "normalization.h"

// The 2x2 pixels that a pooled one is the largest of, by the number of their first one; a row of `across` windows may
// have one that is cut off at an odd edge.
struct Window {
    int image, i, j;
};

MC_DEV Window window_of(int number, int down, int across) {
    const int row = number / across;
    return {row / down, row % down, number % across};
}

MC_DEV bool inside(const Window& window, int e, int height, int width) {
    return 2 * window.i + e / 2 < height && 2 * window.j + e % 2 < width;
}

MC_DEV long long pixel(const Window& window, int e, int height, int width) {
    return (static_cast<long long>(window.image) * height + 2 * window.i + e / 2) * width + 2 * window.j + e % 2;
}

template <class T, int V>
MC_DEV void finish_pooled(
    const T* convolved, const float* mean, const float* scale, const float* beta, int images, int height, int width,
    int channels, int rows_each, T* y, u8* choice, T* peak) {
    const int down = height / 2, across = width / 2;
    const Share share = share_of<V>(images * down * across, rows_each);
    if (share.channel >= channels) return;
    Channels<V> of;
    read_channels<V>(mean, scale, beta, share.channel, of);
    for (int row = share.row; row < share.end; row += share.step) {
        const Window window = window_of(row, down, across);
        float best[V], raw[V];
        u32 chosen[V] = {};
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float value[V];
            load<V>(convolved + pixel(window, e, height, width) * channels + share.channel, value);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const float now = normalized<V>(value[k], of, k);
                if (e == 0 || now > best[k] || now != now) {
                    best[k] = now, raw[k] = value[k], chosen[k] = e;
                }
            }
        }
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (!(best[k] > 0)) chosen[k] = OFF;
            if (best[k] < 0) best[k] = 0;  // NaN stays NaN
        }
        const long long place = static_cast<long long>(row) * channels + share.channel;
        store<V>(y + place, best);
        if (choice) {
            store_bytes<V>(choice + place, chosen);
            store<V>(peak + place, raw);
        }
    }
}

// As gradient_sums of normalization.h, over the pooled arrays.
template <class T, int V>
MC_DEV void pooled_gradient_sums(
    const T* grad, const u8* choice, const T* peak, const float* mean, int rows, int channels, int rows_each,
    float* partial, float* memory) {
    const Share share = share_of<V>(rows, rows_each);
    const bool here = share.channel < channels;
    float center[V] = {}, sum[V] = {}, product[V] = {};
    if (here) load<V>(mean + share.channel, center);
    for (int row = share.row; here && row < share.end; row += share.step) {
        const long long place = static_cast<long long>(row) * channels + share.channel;
        float g[V], value[V];
        u32 chosen[V];
        load<V>(grad + place, g);
        load<V>(peak + place, value);
        load_bytes<V>(choice + place, chosen);
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (chosen[k] != OFF) {
                sum[k] += g[k];
                product[k] += g[k] * (value[k] - center[k]);
            }
        }
    }
    add_slots<V>(sum, memory);
    add_slots<V>(product, memory);
    if (here && threadIdx.y == 0) {
        float* to = partial + static_cast<long long>(blockIdx.x) * 2 * channels + share.channel;
        store<V>(to, sum);
        store<V>(to + channels, product);
    }
}

// The gradient of the convolution's results: also of pixels at an odd edge, which no window has.
template <class T, int V>
MC_DEV void pooled_input_gradient(
    const T* grad, const u8* choice, const T* convolved, const float* mean, const float* factors, int images,
    int height, int width, int channels, int rows_each, T* grad_convolved) {
    const int down = (height + 1) / 2, across = (width + 1) / 2;
    const Share share = share_of<V>(images * down * across, rows_each);
    if (share.channel >= channels) return;
    float center[V], factor[3][V];
    load<V>(mean + share.channel, center);
#pragma unroll
    for (int k = 0; k < 3; k++) load<V>(factors + k * channels + share.channel, factor[k]);
    for (int row = share.row; row < share.end; row += share.step) {
        const Window window = window_of(row, down, across);
        float g[V] = {};
        u32 chosen[V];
#pragma unroll
        for (int k = 0; k < V; k++) chosen[k] = OFF;
        if (inside(window, 3, height, width)) {
            const long long pooled = (static_cast<long long>(window.image) * (height / 2) + window.i) * (width / 2);
            const long long place = (pooled + window.j) * channels + share.channel;
            load<V>(grad + place, g);
            load_bytes<V>(choice + place, chosen);
        }
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (!inside(window, e, height, width)) continue;
            const long long place = pixel(window, e, height, width) * channels + share.channel;
            float value[V];
            load<V>(convolved + place, value);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const float direct = chosen[k] == static_cast<u32>(e) ? factor[0][k] * g[k] : 0.f;
                value[k] = direct - factor[1][k] - factor[2][k] * (value[k] - center[k]);
            }
            store<V>(grad_convolved + place, value);
        }
    }
}

// The passes, for each type of element and number of neighbors that a thread takes at a time.

#define PASSES(SUFFIX, T, V)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) finish_##SUFFIX(                                                \
        const T* convolved, const float* mean, const float* scale, const float* beta, int rows, int channels,         \
        int rows_each, T* y) {                                                                                        \
        normalize<T, V, true>(convolved, mean, scale, beta, rows, channels, rows_each, y);                            \
    }                                                                                                                 \
    MC_EXPORT(finish_##SUFFIX)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256) finish_pooled_##SUFFIX(                                         \
        const T* convolved, const float* mean, const float* scale, const float* beta, int images, int height,         \
        int width, int channels, int rows_each, T* y, u8* choice, T* peak) {                                          \
        finish_pooled<T, V>(                                                                                          \
            convolved, mean, scale, beta, images, height, width, channels, rows_each, y, choice, peak);               \
    }                                                                                                                 \
    MC_EXPORT(finish_pooled_##SUFFIX)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) gradient_sums_##SUFFIX(                                         \
        const T* grad, const T* convolved, const float* mean, const float* scale, const float* beta, int rows,        \
        int channels, int rows_each, float* partial) {                                                                \
        MC_DYN_SMEM(memory);                                                                                          \
        gradient_sums<T, V, true>(                                                                                    \
            grad, convolved, mean, scale, beta, rows, channels, rows_each, partial, reinterpret_cast<float*>(memory)); \
    }                                                                                                                 \
    MC_EXPORT(gradient_sums_##SUFFIX)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) gradient_sums_pooled_##SUFFIX(                                  \
        const T* grad, const u8* choice, const T* peak, const float* mean, int rows, int channels, int rows_each,     \
        float* partial) {                                                                                             \
        MC_DYN_SMEM(memory);                                                                                          \
        pooled_gradient_sums<T, V>(                                                                                   \
            grad, choice, peak, mean, rows, channels, rows_each, partial, reinterpret_cast<float*>(memory));          \
    }                                                                                                                 \
    MC_EXPORT(gradient_sums_pooled_##SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) input_gradient_##SUFFIX(                                        \
        const T* grad, const T* convolved, const float* mean, const float* scale, const float* beta,                  \
        const float* factors, int rows, int channels, int rows_each, T* grad_convolved) {                             \
        input_gradient<T, V, true>(                                                                                   \
            grad, convolved, mean, scale, beta, factors, rows, channels, rows_each, grad_convolved);                  \
    }                                                                                                                 \
    MC_EXPORT(input_gradient_##SUFFIX)                                                                                \
    extern "C" __global__ void __launch_bounds__(256) input_gradient_pooled_##SUFFIX(                                 \
        const T* grad, const u8* choice, const T* convolved, const float* mean, const float* factors, int images,     \
        int height, int width, int channels, int rows_each, T* grad_convolved) {                                      \
        pooled_input_gradient<T, V>(                                                                                  \
            grad, choice, convolved, mean, factors, images, height, width, channels, rows_each, grad_convolved);      \
    }                                                                                                                 \
    MC_EXPORT(input_gradient_pooled_##SUFFIX)

PASSES(float4, float, 4)
PASSES(float1, float, 1)
PASSES(bfloat8, u16, 8)
PASSES(bfloat1, u16, 1)

// The first layer; see first_layer.h.

extern "C" __global__ void __launch_bounds__(256) first_moments(
    const float* x, int strips, int height, int width, int rows_each, float* partial) {
    MC_DYN_SMEM(memory);
    float* warps = reinterpret_cast<float*>(memory);
    patch_moments(x, strips, height, width, rows_each, partial, warps + 8 * MOMENTS, warps);
}
MC_EXPORT(first_moments)

extern "C" __global__ void __launch_bounds__(1024) add_moments(const float* partial, int blocks, double* moments) {
    MC_DYN_SMEM(memory);
    const int column = blockIdx.x * SUM_CHANNELS + threadIdx.x;
    double sum;
    add_partial<1>(partial, blocks, MOMENTS, column, reinterpret_cast<double*>(memory), &sum);
    if (column < MOMENTS && threadIdx.y == 0) moments[column] = sum;
}
MC_EXPORT(add_moments)

// A channel's statistics (where `moments` are null, mean and var are given) and its weights with normalization folded
// in: (9, channels) and shifts.
extern "C" __global__ void __launch_bounds__(256) first_statistics(
    const double* moments, double count, const float* weight, const float* gamma, const float* beta, double eps,
    int channels, float* mean, float* var, float* folded, float* shifts) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    const float* own = weight + channel * TAPS;
    double center, spread;
    if (moments) {
        first_statistics_of(moments, count, own, &center, &spread);
        mean[channel] = static_cast<float>(center);
        var[channel] = static_cast<float>(spread);
    } else {
        center = mean[channel], spread = var[channel];
    }
    const double scale = gamma[channel] / sqrt(spread + eps);
    for (int tap = 0; tap < TAPS; tap++) folded[tap * channels + channel] = static_cast<float>(own[tap] * scale);
    shifts[channel] = static_cast<float>(beta[channel] - center * scale);
}
MC_EXPORT(first_statistics)

extern "C" __global__ void __launch_bounds__(1024) first_gradients(
    const float* partial, int blocks, int channels, const double* moments, double count, const float* weight,
    const float* gamma, const float* mean, const float* var, double eps, float* grad_weight, float* grad_gamma,
    float* grad_beta) {
    MC_DYN_SMEM(memory);
    const int channel = blockIdx.x * SUM_CHANNELS + threadIdx.x;
    double sums[TAPS + 1];
    add_partial<TAPS + 1>(partial, blocks, channels, channel, reinterpret_cast<double*>(memory), sums);
    if (channel >= channels || threadIdx.y) return;
    first_gradients_of(
        sums, moments, count, weight + channel * TAPS, gamma[channel], mean[channel], var[channel], eps,
        grad_weight + channel * TAPS, grad_gamma + channel, grad_beta + channel);
}
MC_EXPORT(first_gradients)

#define FIRST(SUFFIX, T, V, POOLED)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) first_forward_##SUFFIX(                                         \
        const float* x, const float* folded, const float* shifts, int height, int width, int channels, int rows_each, \
        T* y, u8* choice) {                                                                                           \
        MC_DYN_SMEM(tile);                                                                                            \
        first_forward<T, V, POOLED>(                                                                                  \
            x, folded, shifts, height, width, channels, rows_each, y, choice, reinterpret_cast<float*>(tile));        \
    }                                                                                                                 \
    MC_EXPORT(first_forward_##SUFFIX)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256, 2) first_gradient_sums_##SUFFIX(                                   \
        const float* x, const T* grad, const T* y, const u8* choice, int strips, int height, int width, int channels, \
        int rows_each, float* partial) {                                                                              \
        MC_DYN_SMEM(memory);                                                                                          \
        float* sums = reinterpret_cast<float*>(memory);                                                               \
        first_gradient_sums<T, V, POOLED>(                                                                            \
            x, grad, y, choice, strips, height, width, channels, rows_each, partial, sums + 256 * V, sums);           \
    }                                                                                                                 \
    MC_EXPORT(first_gradient_sums_##SUFFIX)

FIRST(float4, float, 4, false)
FIRST(float1, float, 1, false)
FIRST(bfloat4, u16, 4, false)
FIRST(bfloat1, u16, 1, false)
FIRST(pooled_float4, float, 4, true)
FIRST(pooled_float1, float, 1, true)
FIRST(pooled_bfloat4, u16, 4, true)
FIRST(pooled_bfloat1, u16, 1, true)
