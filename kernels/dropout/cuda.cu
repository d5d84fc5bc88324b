// Dropout: an element's random number is the one of its place in C order. A thread has V elements.
#include "elements.h"
#include "uniform.h"

template <class T, int V>
MC_DEV void drop(const T* x, T* y, long long size, const u64* seed, u32 threshold, float scale) {
    const Seed halves = seed_at(seed);
    const long long first = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    const bool together = first + V <= size && aligned16(x) && aligned16(y);
    float value[V];
    if (together) {
        load<V>(x + first, value);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++) value[k] = first + k < size ? to_float(x[first + k]) : 0.f;
    }
#pragma unroll
    for (int k = 0; k < V; k++) {
        value[k] = bits_of(static_cast<u32>(first + k), halves) < threshold ? 0.f : value[k] * scale;
    }
    if (together) {
        store<V>(y + first, value);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (first + k < size) store(y + first + k, value[k]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) drop_float32(
    const float* x, float* y, long long size, const u64* seed, u32 threshold, float scale) {
    drop<float, 4>(x, y, size, seed, threshold, scale);
}
MC_EXPORT(drop_float32)

extern "C" __global__ void __launch_bounds__(256) drop_bfloat16(
    const u16* x, u16* y, long long size, const u64* seed, u32 threshold, float scale) {
    drop<u16, 8>(x, y, size, seed, threshold, scale);
}
MC_EXPORT(drop_bfloat16)
