// Batch normalization of (rows, channels); see normalization.h. The kernels that know channels alone serve conv_block too.
#include "normalization.h"

// Blocks of (SUM_CHANNELS, slots) threads, and a double of memory a thread.

// Where `scale` is not null it gets gamma / sqrt(var + eps) as well.
extern "C" __global__ void __launch_bounds__(1024) statistics(
    const float* partial, int blocks, int rows_each, int rows, int channels, float* mean, float* var, const float* gamma,
    double eps, float* scale) {
    MC_DYN_SMEM(memory);
    double center, spread;
    statistics_of(partial, blocks, rows_each, rows, channels, reinterpret_cast<double*>(memory), &center, &spread);
    const int channel = blockIdx.x * SUM_CHANNELS + threadIdx.x;
    if (channel >= channels || threadIdx.y) return;
    mean[channel] = static_cast<float>(center);
    var[channel] = static_cast<float>(spread);
    if (scale) scale[channel] = static_cast<float>(gamma[channel] / sqrt(spread + eps));
}
MC_EXPORT(statistics)

extern "C" __global__ void __launch_bounds__(1024) parameter_gradients(
    const float* partial, int blocks, int channels, const float* gamma, const float* var, double eps, int count,
    float* grad_gamma, float* grad_beta, float* factors) {
    MC_DYN_SMEM(memory);
    const int channel = blockIdx.x * SUM_CHANNELS + threadIdx.x;
    double sums[2];
    add_partial<2>(partial, blocks, channels, channel, reinterpret_cast<double*>(memory), sums);
    if (channel >= channels || threadIdx.y) return;
    gradient_factors(
        sums, gamma[channel], var[channel], eps, count, channel, channels, grad_gamma, grad_beta, factors);
}
MC_EXPORT(parameter_gradients)

// A thread a channel.

extern "C" __global__ void __launch_bounds__(256) scales(
    const float* var, const float* gamma, double eps, int channels, float* scale) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel < channels) scale[channel] = static_cast<float>(gamma[channel] / sqrt(var[channel] + eps));
}
MC_EXPORT(scales)

// `unbias` is n / (n - 1), for the batch's biased variance.
extern "C" __global__ void __launch_bounds__(256) update_running(
    const float* mean, const float* var, float momentum, float unbias, int channels, float* running_mean,
    float* running_var) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    running_mean[channel] += momentum * (mean[channel] - running_mean[channel]);
    running_var[channel] += momentum * (var[channel] * unbias - running_var[channel]);
}
MC_EXPORT(update_running)

#define PASSES(SUFFIX, V)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) moments_##SUFFIX(                                               \
        const float* x, int rows, int channels, int rows_each, float* partial) {                                      \
        MC_DYN_SMEM(memory);                                                                                          \
        moments<float, V>(x, rows, channels, rows_each, partial, reinterpret_cast<float*>(memory));                   \
    }                                                                                                                 \
    MC_EXPORT(moments_##SUFFIX)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) normalize_##SUFFIX(                                             \
        const float* x, const float* mean, const float* scale, const float* beta, int rows, int channels,             \
        int rows_each, float* y) {                                                                                    \
        normalize<float, V, false>(x, mean, scale, beta, rows, channels, rows_each, y);                               \
    }                                                                                                                 \
    MC_EXPORT(normalize_##SUFFIX)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) gradient_sums_##SUFFIX(                                         \
        const float* grad, const float* x, const float* mean, int rows, int channels, int rows_each,                  \
        float* partial) {                                                                                             \
        MC_DYN_SMEM(memory);                                                                                          \
        gradient_sums<float, V, false>(                                                                               \
            grad, x, mean, mean, mean, rows, channels, rows_each, partial, reinterpret_cast<float*>(memory));         \
    }                                                                                                                 \
    MC_EXPORT(gradient_sums_##SUFFIX)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) input_gradient_##SUFFIX(                                        \
        const float* grad, const float* x, const float* mean, const float* factors, int rows, int channels,           \
        int rows_each, float* grad_x) {                                                                               \
        input_gradient<float, V, false>(grad, x, mean, mean, mean, factors, rows, channels, rows_each, grad_x);       \
    }                                                                                                                 \
    MC_EXPORT(input_gradient_##SUFFIX)

PASSES(float4, 4)
PASSES(float1, 1)
