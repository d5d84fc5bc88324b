// How the passes go through memory: a few neighbors at a time, as float in registers whatever the array holds.
//
// An element is a float or a bfloat16, which is kept as u16. V neighbors are read and written at once, in words of 16
// bytes (4 floats, 8 bfloat16) where the number of channels allows, else one by one.
#pragma once
#include "device.h"

template <int V> MC_DEV void load(const float* from, float* to) {
    if constexpr (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V; k += 4) {
            const float4 four = *reinterpret_cast<const float4*>(from + k);
            to[k] = four.x, to[k + 1] = four.y, to[k + 2] = four.z, to[k + 3] = four.w;
        }
    } else {
        for (int k = 0; k < V; k++) to[k] = from[k];
    }
}

template <int V> MC_DEV void load(const u16* from, float* to) {
    if constexpr (V == 8) {
        const uint4 words = *reinterpret_cast<const uint4*>(from);
        const u32 pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int k = 0; k < 8; k++) to[k] = k % 2 ? high_bf16(pairs[k / 2]) : low_bf16(pairs[k / 2]);
    } else if constexpr (V == 4) {
        const uint2 words = *reinterpret_cast<const uint2*>(from);
        to[0] = low_bf16(words.x), to[1] = high_bf16(words.x), to[2] = low_bf16(words.y), to[3] = high_bf16(words.y);
    } else {
        for (int k = 0; k < V; k++) to[k] = to_float(from[k]);
    }
}

template <int V> MC_DEV void store(float* to, const float* from) {
    if constexpr (V % 4 == 0) {
#pragma unroll
        for (int k = 0; k < V; k += 4) {
            *reinterpret_cast<float4*>(to + k) = make_float4(from[k], from[k + 1], from[k + 2], from[k + 3]);
        }
    } else {
        for (int k = 0; k < V; k++) to[k] = from[k];
    }
}

template <int V> MC_DEV void store(u16* to, const float* from) {
    if constexpr (V == 8) {
        *reinterpret_cast<uint4*>(to) = make_uint4(
            pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]), pack_bf16(from[4], from[5]),
            pack_bf16(from[6], from[7]));
    } else if constexpr (V == 4) {
        *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]));
    } else {
        for (int k = 0; k < V; k++) to[k] = to_bf16(from[k]);
    }
}

// Small numbers of one byte each, such as which pixel of a window was the largest.

template <int V> MC_DEV void load_bytes(const u8* from, u32* to) {
    if constexpr (V == 8) {
        const uint2 words = *reinterpret_cast<const uint2*>(from);
#pragma unroll
        for (int k = 0; k < 8; k++) to[k] = (k < 4 ? words.x : words.y) >> (8 * (k % 4)) & 0xff;
    } else if constexpr (V == 4) {
        const u32 word = *reinterpret_cast<const u32*>(from);
#pragma unroll
        for (int k = 0; k < 4; k++) to[k] = word >> (8 * k) & 0xff;
    } else {
        for (int k = 0; k < V; k++) to[k] = from[k];
    }
}

template <int V> MC_DEV void store_bytes(u8* to, const u32* from) {
    if constexpr (V == 8) {
        *reinterpret_cast<uint2*>(to) = make_uint2(
            from[0] | from[1] << 8 | from[2] << 16 | from[3] << 24,
            from[4] | from[5] << 8 | from[6] << 16 | from[7] << 24);
    } else if constexpr (V == 4) {
        *reinterpret_cast<u32*>(to) = from[0] | from[1] << 8 | from[2] << 16 | from[3] << 24;
    } else {
        for (int k = 0; k < V; k++) to[k] = static_cast<u8>(from[k]);
    }
}

// Whether V elements at a time may be read from here.
MC_DEV bool aligned16(const void* pointer) { return (reinterpret_cast<size_t>(pointer) & 15) == 0; }
