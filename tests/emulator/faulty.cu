// Kernels with a mistake each, which the emulator must see. One block of 64 threads unless said otherwise.
#include "device.h"

extern "C" __global__ void no_barrier(const int* x, int* y) {
    __shared__ int shared[64];
    shared[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}
MC_EXPORT(no_barrier)

extern "C" __global__ void no_barrier_within_a_warp(const int* x, int* y) {
    __shared__ int shared[64];
    shared[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = shared[threadIdx.x ^ 1];
}
MC_EXPORT(no_barrier_within_a_warp)

extern "C" __global__ void early_end() {
    if (threadIdx.x >= 60) return;
    __syncthreads();
}
MC_EXPORT(early_end)

extern "C" __global__ void two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}
MC_EXPORT(two_barriers)

extern "C" __global__ void half_a_warp(int* y) {
    if (threadIdx.x % 32 < 16)
        y[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 1);
    else
        __syncthreads();
}
MC_EXPORT(half_a_warp)

extern "C" __global__ void two_places(int* y) {
    if (threadIdx.x % 2)
        y[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 1);
    else
        y[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 1);
}
MC_EXPORT(two_places)

extern "C" __global__ void not_named() { __syncwarp(1u); }
MC_EXPORT(not_named)

extern "C" __global__ void lanes_that_ended(int* y) {
    if (threadIdx.x % 32 >= 16) return;
    y[threadIdx.x] = __shfl_xor_sync(~0u, (int)threadIdx.x, 16);
}
MC_EXPORT(lanes_that_ended)

extern "C" __global__ void matrices_of_half_a_warp() {
    MC_DYN_SMEM(memory);
    if (threadIdx.x % 32 >= 16) return;
    u32 r[4];
    ldsm4(r, memory);
}
MC_EXPORT(matrices_of_half_a_warp)

extern "C" __global__ void no_wait(const float* x, float* y) {
    MC_DYN_SMEM(memory);
    const float* mine = (const float*)(memory + threadIdx.x * 16);
    cp_async16(memory + threadIdx.x * 16, x + threadIdx.x * 4, true);
    cp_commit();
    y[threadIdx.x] = mine[0];
    cp_wait<0>();
}
MC_EXPORT(no_wait)

extern "C" __global__ void wait_for_the_wrong_group(const float* x, float* y) {
    MC_DYN_SMEM(memory);
    unsigned char* mine = memory + threadIdx.x * 32;
    cp_async16(mine, x + threadIdx.x * 4, true);
    cp_commit();
    cp_async16(mine + 16, x + threadIdx.x * 4, true);
    cp_commit();
    cp_wait<1>();
    y[threadIdx.x] = *(const float*)(mine + 16);
    cp_wait<0>();
}
MC_EXPORT(wait_for_the_wrong_group)

// The next copy into a buffer begins while the neighbor may still read it.
extern "C" __global__ void copy_too_early(const float* x, float* y) {
    MC_DYN_SMEM(memory);
    unsigned char* mine = memory + threadIdx.x * 16;
    float sum = 0;
    for (int step = 0; step < 2; step++) {
        cp_async16(mine, x + (step * 64 + threadIdx.x) * 4, true);
        cp_commit();
        cp_wait<0>();
        __syncthreads();
        sum += *(const float*)(memory + (threadIdx.x + 1) % 64 * 16);
    }
    y[threadIdx.x] = sum;
}
MC_EXPORT(copy_too_early)

extern "C" __global__ void no_commit(const float* x) {
    MC_DYN_SMEM(memory);
    cp_async16(memory + threadIdx.x * 16, x + threadIdx.x * 4, true);
    cp_wait<0>();
}
MC_EXPORT(no_commit)

extern "C" __global__ void copy_outside_of_shared(const float* x) {
    MC_DYN_SMEM(memory);
    cp_async16(memory + 1024 + threadIdx.x * 16, x, true);
}
MC_EXPORT(copy_outside_of_shared)

extern "C" __global__ void copy_from_an_odd_address(const float* x) {
    MC_DYN_SMEM(memory);
    cp_async16(memory + threadIdx.x * 16, x + threadIdx.x, true);
    cp_commit();
    cp_wait<0>();
}
MC_EXPORT(copy_from_an_odd_address)

extern "C" __global__ void matrix_at_an_odd_address() {
    MC_DYN_SMEM(memory);
    u32 r[4];
    ldsm4(r, memory + 8);
}
MC_EXPORT(matrix_at_an_odd_address)

extern "C" __global__ void uninitialized(float* still, float* dynamic) {
    __shared__ float shared[64];
    MC_DYN_SMEM(memory);
    still[threadIdx.x] = shared[threadIdx.x];
    dynamic[threadIdx.x] = ((float*)memory)[threadIdx.x];
    shared[threadIdx.x] = 1;
    ((float*)memory)[threadIdx.x] = 1;
}
MC_EXPORT(uninitialized)

extern "C" __global__ void beyond_shared(int last) {
    __shared__ int shared[64];
    shared[threadIdx.x + last] = 1;
}
MC_EXPORT(beyond_shared)

extern "C" __global__ void beyond_dynamic(float* y, int first) {
    MC_DYN_SMEM(memory);
    ((float*)memory)[first + (int)threadIdx.x] = 1;
    y[threadIdx.x] = 1;
}
MC_EXPORT(beyond_dynamic)

extern "C" __global__ void reads(const float* x, float* y, int first) { y[threadIdx.x] = x[first + (int)threadIdx.x]; }
MC_EXPORT(reads)

extern "C" __global__ void writes(float* y, int first) { y[first + (int)threadIdx.x] = 1; }
MC_EXPORT(writes)

extern "C" __global__ void four_at_once(const float* x, float* y) {
    *(float4*)(y + 4 * threadIdx.x) = *(const float4*)(x + 4 * threadIdx.x + 1);
}
MC_EXPORT(four_at_once)

extern "C" __global__ void divides(int* y, int by) { y[threadIdx.x] = 5 / by; }
MC_EXPORT(divides)

extern "C" __global__ void not_rounded(const float* x, float* y) {
    u32 a[4], b[2] = {};
    for (int i = 0; i < 4; i++) a[i] = __float_as_uint(x[threadIdx.x]);
    mma_tf32(y + threadIdx.x * 4, a, b);
}
MC_EXPORT(not_rounded)

extern "C" __global__ void huge_local(int* y, int n) {
    int local[100000];
    for (int i = 0; i < n; i++) local[i * 1000] = i;
    y[threadIdx.x] = local[threadIdx.x * 1000];
}
MC_EXPORT(huge_local)

extern "C" __global__ void __launch_bounds__(64, 2) bounded(int* y) { y[threadIdx.x] = 1; }
MC_EXPORT(bounded)

extern "C" __global__ void unbounded(int* y) { y[threadIdx.x] = 1; }
MC_EXPORT(unbounded)

// Blocks of 64 threads.
extern "C" __global__ void all_add(float* y) { y[threadIdx.x] += 1 + blockIdx.x; }
MC_EXPORT(all_add)

extern "C" __global__ void needs_the_block_before(float* y) {
    y[(blockIdx.x + 1) * 64 + threadIdx.x] = y[blockIdx.x * 64 + threadIdx.x] + 1;
}
MC_EXPORT(needs_the_block_before)
