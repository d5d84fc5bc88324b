// Random numbers by counting, see kernels/uniform.py.
#pragma once
#include "device.h"

MC_DEV u32 mix(u32 h) {
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

struct Seed {
    u32 low, high;
};

// Read from memory, so that a recorded step can draw others each time.
MC_DEV Seed seed_at(const u64* seed) { return {static_cast<u32>(*seed), static_cast<u32>(*seed >> 32)}; }

// 24 random bits.
MC_DEV u32 bits_of(u32 number, Seed seed) { return mix(mix(number ^ seed.low) + seed.high) >> 8; }
