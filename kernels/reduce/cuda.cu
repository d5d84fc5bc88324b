// Sums of all elements in double, in an order that depends on the size alone: the sums of blocks, then one block's.
#include "channel_sums.h"
#include "elements.h"

// Block (1, threads), a double of memory a thread.
extern "C" __global__ void __launch_bounds__(256) partial_sums(
    const float* x, long long size, int squared, double* partial) {
    MC_DYN_SMEM(memory);
    const long long step = static_cast<long long>(gridDim.x) * blockDim.y * 4;
    double sum = 0;
    for (long long at = (static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y) * 4; at < size; at += step) {
        float value[4];
        if (at + 4 <= size && aligned16(x)) {
            load<4>(x + at, value);
        } else {
#pragma unroll
            for (int k = 0; k < 4; k++) value[k] = at + k < size ? x[at + k] : 0.f;
        }
#pragma unroll
        for (int k = 0; k < 4; k++) sum += squared ? static_cast<double>(value[k]) * value[k] : value[k];
    }
    sum = add_slots(sum, reinterpret_cast<double*>(memory));
    if (threadIdx.y == 0) partial[blockIdx.x] = sum;
}
MC_EXPORT(partial_sums)

// One block adds the sums of blocks up; one of the two results is asked for, the other null.
extern "C" __global__ void __launch_bounds__(256) add_blocks(
    const double* partial, int blocks, float* total, double* exact) {
    MC_DYN_SMEM(memory);
    double sum = 0;
    for (int block = threadIdx.y; block < blocks; block += blockDim.y) sum += partial[block];
    sum = add_slots(sum, reinterpret_cast<double*>(memory));
    if (threadIdx.y) return;
    if (total) *total = static_cast<float>(sum);
    if (exact) *exact = sum;
}
MC_EXPORT(add_blocks)
