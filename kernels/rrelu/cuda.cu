// Randomized leaky ReLU: an element's slope has the random number of its place in C order of (images, channels, pixels).
#include "elements.h"
#include "uniform.h"

static constexpr int V = 4;  // elements of a thread

// The number of an element of images that lie (images, pixels, channels) in memory; with 1 pixel of 1 channel, itself.
MC_DEV u32 number_of(u32 place, u32 pixels, u32 channels) {
    const u32 pixel = place / channels;
    return (pixel / pixels * channels + place % channels) * pixels + pixel % pixels;
}

extern "C" __global__ void __launch_bounds__(256) rrelu(
    const float* grad, const float* y, float* grad_x, int size, int pixels, int channels, const u64* seed, float lower,
    float width) {
    const Seed halves = seed_at(seed);
    const int first = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    const bool together = first + V <= size && aligned16(grad) && aligned16(y);
    float value[V], sign[V];
    if (together) {
        load<V>(grad + first, value), load<V>(y + first, sign);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++) {
            value[k] = first + k < size ? grad[first + k] : 0.f, sign[k] = first + k < size ? y[first + k] : 0.f;
        }
    }
#pragma unroll
    for (int k = 0; k < V; k++) {
        const float drawn = static_cast<float>(bits_of(number_of(first + k, pixels, channels), halves));
        value[k] *= sign[k] > 0.f ? 1.f : lower + drawn * width;
    }
    if (together) {
        store<V>(grad_x + first, value);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (first + k < size) grad_x[first + k] = value[k];
        }
    }
}
MC_EXPORT(rrelu)
