// Batch normalization of an array (rows, channels): the statistics, the normalized array, and both gradients.
//
// An element x becomes (x - mean) * scale + beta, with scale = gamma / sqrt(var + eps). Centering first keeps float32
// right where the mean is far from zero. With Relu, what is negative then becomes zero, and has no gradient.
#pragma once
#include "channel_sums.h"
#include "elements.h"

// What the passes know of their channels. Reading it once a thread costs little beside the rows that follow.
template <int V> struct Channels {
    float mean[V], scale[V], beta[V];
};

template <int V>
MC_DEV void read_channels(const float* mean, const float* scale, const float* beta, int channel, Channels<V>& of) {
    load<V>(mean + channel, of.mean);
    load<V>(scale + channel, of.scale);
    load<V>(beta + channel, of.beta);
}

// fmaf and not an expression: backward asks again which values were positive, and must not round otherwise.
template <int V> MC_DEV float normalized(float x, const Channels<V>& of, int k) {
    return fmaf(x - of.mean[k], of.scale[k], of.beta[k]);
}

// Sum, and sum of squares about the block's own mean, for each channel of a block's rows: partial (blocks, 2, channels).
template <class T, int V>
MC_DEV void moments(const T* x, int rows, int channels, int rows_each, float* partial, float* memory) {
    const Share share = share_of<V>(rows, rows_each);
    const bool here = share.channel < channels;
    float sum[V] = {}, squares[V] = {}, value[V];
    for (int row = share.row; here && row < share.end; row += share.step) {
        load<V>(x + static_cast<long long>(row) * channels + share.channel, value);
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += value[k];
    }
    add_slots<V>(sum, memory);
    const float count = static_cast<float>(share.end - static_cast<int>(blockIdx.x) * rows_each);
    for (int row = share.row; here && row < share.end; row += share.step) {
        load<V>(x + static_cast<long long>(row) * channels + share.channel, value);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float centered = value[k] - sum[k] / count;
            squares[k] += centered * centered;
        }
    }
    add_slots<V>(squares, memory);
    if (here && threadIdx.y == 0) {
        float* to = partial + static_cast<long long>(blockIdx.x) * 2 * channels + share.channel;
        store<V>(to, sum);
        store<V>(to + channels, squares);
    }
}

// Mean and biased variance from such partial sums, whose blocks have `rows_each` of the `rows` (the last one fewer).
// In double, so that mean squares may be subtracted. Source: T. Chan, G. Golub, R. LeVeque, "Algorithms for computing
// the sample variance", 1983. Every thread of the block gets those of its channel.
MC_DEV void statistics_of(
    const float* partial, int blocks, int rows_each, int rows, int channels, double* memory, double* mean, double* var) {
    const int channel = blockIdx.x * SUM_CHANNELS + threadIdx.x;
    const double one_over_full = 1. / rows_each, one_over_last = 1. / (rows - (blocks - 1) * rows_each);
    double sum = 0, squares = 0;
    if (channel < channels) {
        for (int block = threadIdx.y; block < blocks; block += blockDim.y) {
            const float* from = partial + static_cast<long long>(block) * 2 * channels + channel;
            const double part = from[0];
            sum += part;
            squares += from[channels] + part * part * (block < blocks - 1 ? one_over_full : one_over_last);
        }
    }
    *mean = add_slots(sum, memory) / rows;
    *var = fmax(add_slots(squares, memory) / rows - *mean * *mean, 0.);
}

template <class T, int V, bool Relu>
MC_DEV void normalize(
    const T* x, const float* mean, const float* scale, const float* beta, int rows, int channels, int rows_each, T* y) {
    const Share share = share_of<V>(rows, rows_each);
    if (share.channel >= channels) return;
    Channels<V> of;
    read_channels<V>(mean, scale, beta, share.channel, of);
    for (int row = share.row; row < share.end; row += share.step) {
        const long long place = static_cast<long long>(row) * channels + share.channel;
        float value[V];
        load<V>(x + place, value);
#pragma unroll
        for (int k = 0; k < V; k++) {
            value[k] = normalized<V>(value[k], of, k);
            if (Relu && value[k] < 0) value[k] = 0;  // NaN stays NaN
        }
        store<V>(y + place, value);
    }
}

// What a block's rows add to the sums of grad and of grad * (x - mean): partial (blocks, 2, channels).
template <class T, int V, bool Relu>
MC_DEV void gradient_sums(
    const T* grad, const T* x, const float* mean, const float* scale, const float* beta, int rows, int channels,
    int rows_each, float* partial, float* memory) {
    const Share share = share_of<V>(rows, rows_each);
    const bool here = share.channel < channels;
    Channels<V> of;
    if (here) read_channels<V>(mean, scale, beta, share.channel, of);
    float sum[V] = {}, product[V] = {};
    for (int row = share.row; here && row < share.end; row += share.step) {
        const long long place = static_cast<long long>(row) * channels + share.channel;
        float g[V], value[V];
        load<V>(grad + place, g);
        load<V>(x + place, value);
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (Relu && !(normalized<V>(value[k], of, k) > 0)) g[k] = 0;
            sum[k] += g[k];
            product[k] += g[k] * (value[k] - of.mean[k]);
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

// From those sums: the gradients of gamma and beta, and the factors (3, channels) of the input's gradient, which is
// factor 0 * grad - factor 1 - factor 2 * (x - mean). `count` is how many rows the statistics come from, and 0 where
// they are constants (evaluation). Source: S. Ioffe, C. Szegedy, "Batch normalization", 2015, section 3.
MC_DEV void gradient_factors(
    const double* sums, double gamma, double var, double eps, int count, int channel, int channels, float* grad_gamma,
    float* grad_beta, float* factors) {
    const double inverse = 1 / sqrt(var + eps), slope = sums[1] * inverse;
    grad_gamma[channel] = static_cast<float>(slope);
    grad_beta[channel] = static_cast<float>(sums[0]);
    factors[channel] = static_cast<float>(gamma * inverse);
    factors[channels + channel] = count ? static_cast<float>(gamma * inverse * sums[0] / count) : 0.f;
    factors[2 * channels + channel] = count ? static_cast<float>(gamma * inverse * inverse * slope / count) : 0.f;
}

template <class T, int V, bool Relu>
MC_DEV void input_gradient(
    const T* grad, const T* x, const float* mean, const float* scale, const float* beta, const float* factors, int rows,
    int channels, int rows_each, T* grad_x) {
    const Share share = share_of<V>(rows, rows_each);
    if (share.channel >= channels) return;
    Channels<V> of;
    read_channels<V>(mean, scale, beta, share.channel, of);
    float factor[3][V];
#pragma unroll
    for (int k = 0; k < 3; k++) load<V>(factors + k * channels + share.channel, factor[k]);
    for (int row = share.row; row < share.end; row += share.step) {
        const long long place = static_cast<long long>(row) * channels + share.channel;
        float g[V], value[V];
        load<V>(grad + place, g);
        load<V>(x + place, value);
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (Relu && !(normalized<V>(value[k], of, k) > 0)) g[k] = 0;
            g[k] = factor[0][k] * g[k] - factor[1][k] - factor[2][k] * (value[k] - of.mean[k]);
        }
        store<V>(grad_x + place, g);
    }
}
