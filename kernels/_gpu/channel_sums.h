// Sums over the rows of an array (rows, channels), in an order that depends on the launch alone: no atomics.
//
// Two steps. A block of (lanes, slots) threads goes through some rows: a lane is V channels, a slot takes every
// slots-th row. It writes one row of partial sums, and a second kernel adds those up, in double.
#pragma once
#include "device.h"

const int SUM_CHANNELS = 8;  // channels of a block of the second kernel

struct Share {  // of the rows and channels: what one thread goes through
    int channel, row, step, end;
};

// Block x takes `rows_each` of the rows, block y a tile of the channels.
template <int V> MC_DEV Share share_of(int rows, int rows_each) {
    Share share;
    share.channel = (blockIdx.y * blockDim.x + threadIdx.x) * V;
    share.row = blockIdx.x * rows_each + threadIdx.y;
    share.step = blockDim.y;
    share.end = min(rows, static_cast<int>(blockIdx.x + 1) * rows_each);
    return share;
}

// Adds up the `values` of a lane's slots, whose number is a power of two, and gives every one of them the sums.
// Every thread of the block has to come here; `memory` holds V numbers a thread.
template <int V> MC_DEV void add_slots(float* values, float* memory) {
    const int size = blockDim.x * blockDim.y, me = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
    for (int k = 0; k < V; k++) memory[k * size + me] = values[k];
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) {
#pragma unroll
            for (int k = 0; k < V; k++) memory[k * size + me] += memory[k * size + me + half * blockDim.x];
        }
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < V; k++) values[k] = memory[k * size + threadIdx.x];
    __syncthreads();  // before anybody uses the memory again
}

// The same for one double a thread.
MC_DEV double add_slots(double value, double* memory) {
    const int me = threadIdx.y * blockDim.x + threadIdx.x;
    memory[me] = value;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) memory[me] += memory[me + half * blockDim.x];
    }
    __syncthreads();
    const double sum = memory[threadIdx.x];
    __syncthreads();
    return sum;
}

// The second step for K sums a channel, `partial` (rows, K, channels), by a block of (SUM_CHANNELS, slots) threads.
template <int K>
MC_DEV void add_partial(const float* partial, int rows, int channels, int channel, double* memory, double* sums) {
#pragma unroll
    for (int k = 0; k < K; k++) sums[k] = 0;
    if (channel < channels) {
        for (int row = threadIdx.y; row < rows; row += blockDim.y) {
#pragma unroll
            for (int k = 0; k < K; k++) sums[k] += partial[(static_cast<long long>(row) * K + k) * channels + channel];
        }
    }
#pragma unroll
    for (int k = 0; k < K; k++) sums[k] = add_slots(sums[k], memory);
}
