// Dropout: the random number of an element is a hash of the seed and the element's number (see kernels/dropout).
#include "elements.h"

MC_DEV u32 mix(u32 h) {
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

// The seed is read from memory, so that a recorded step can drop others each time. A thread has V elements.
template <class T, int V>
MC_DEV void drop(const T* x, T* y, long long size, const u64* seed, u32 threshold, float scale) {
    const u32 low = static_cast<u32>(*seed), high = static_cast<u32>(*seed >> 32);
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
        const u32 bits = mix(mix(static_cast<u32>(first + k) ^ low) + high) >> 8;
        value[k] = bits < threshold ? 0.f : value[k] * scale;
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
