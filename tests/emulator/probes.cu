// Kernels that show what each primitive of device.h does, one warp each: for the emulator's tests, and for a first
// look at a real GPU.
#include "device.h"

// c (16, 8) = a (16, depth) b (depth, 8), all row by row in memory, with the fragments that device.h describes.
extern "C" __global__ void product_bf16(const u16* a, const u16* b, float* c) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    u32 fa[4], fb[2];
    for (int i = 0; i < 4; i++) {
        const int row = g + i % 2 * 8, column = 2 * t + i / 2 * 8;
        fa[i] = a[row * 16 + column] | a[row * 16 + column + 1] << 16;
    }
    for (int i = 0; i < 2; i++) {
        const int row = 2 * t + i * 8;
        fb[i] = b[row * 8 + g] | b[(row + 1) * 8 + g] << 16;
    }
    float fc[4] = {};
    mma_bf16(fc, fa, fb);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}
MC_EXPORT(product_bf16)

extern "C" __global__ void product_tf32(const float* a, const float* b, float* c) {
    const int g = threadIdx.x / 4, t = threadIdx.x % 4;
    u32 fa[4], fb[2];
    for (int i = 0; i < 4; i++) fa[i] = to_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; i++) fb[i] = to_tf32(b[(t + i * 4) * 8 + g]);
    float fc[4] = {};
    mma_tf32(fc, fa, fb);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}
MC_EXPORT(product_tf32)

// Four 8x8 matrices, taken from memory by cp_async16 and ldsm4 and written back in place; the last may be zeros.
MC_DEV void through_registers(const u16* from, u16* to, bool transposed, bool last_wanted) {
    MC_DYN_SMEM(memory);
    const int lane = threadIdx.x;
    cp_async16(memory + lane * 16, from + lane * 8, lane < 24 || last_wanted);
    cp_commit();
    cp_wait<0>();
    __syncthreads();
    u32 r[4];
    if (transposed)
        ldsm4t(r, memory + lane * 16);
    else
        ldsm4(r, memory + lane * 16);
    for (int m = 0; m < 4; m++) {
        to[m * 64 + lane / 4 * 8 + lane % 4 * 2] = r[m] & 0xffff;
        to[m * 64 + lane / 4 * 8 + lane % 4 * 2 + 1] = r[m] >> 16;
    }
}

extern "C" __global__ void matrices(const u16* from, u16* to) { through_registers(from, to, false, true); }
MC_EXPORT(matrices)

extern "C" __global__ void matrices_transposed(const u16* from, u16* to) { through_registers(from, to, true, true); }
MC_EXPORT(matrices_transposed)

extern "C" __global__ void matrices_without_the_last(const u16* from, u16* to) {
    through_registers(from, to, false, false);
}
MC_EXPORT(matrices_without_the_last)

// x rounded to tf32 and to bfloat16 (twice, as the halves of a pair), as floats again.
extern "C" __global__ void rounded(const float* x, float* tf32, float* low, float* high, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    tf32[i] = __uint_as_float(to_tf32(x[i]));
    low[i] = low_bf16(pack_bf16(x[i], 0.f));
    high[i] = high_bf16(pack_bf16(0.f, x[i]));
}
MC_EXPORT(rounded)

// What the lane at the other end, the next, the one before and lane 5 have, and who has an odd number.
extern "C" __global__ void exchanged(const float* x, float* far, float* next, float* before, float* fifth, u32* odd) {
    const int lane = threadIdx.x;
    far[lane] = __shfl_xor_sync(~0u, x[lane], 31);
    next[lane] = __shfl_down_sync(~0u, x[lane], 1);
    before[lane] = __shfl_up_sync(~0u, x[lane], 1);
    fifth[lane] = __shfl_sync(~0u, x[lane], 5);
    odd[lane] = __ballot_sync(~0u, (int)x[lane] % 2);
}
MC_EXPORT(exchanged)

// Which thread of which block this is.
extern "C" __global__ void positions(int* to) {
    const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    to[block * (int)(blockDim.x * blockDim.y * blockDim.z) + thread] = block * 1000 + thread;
}
MC_EXPORT(positions)

// Every kind of parameter.
extern "C" __global__ void arguments(const float* x, int i, long long l, float f, double* to) {
    to[0] = x ? x[0] : -1;
    to[1] = i;
    to[2] = (double)l;
    to[3] = f;
}
MC_EXPORT(arguments)

// One step of a computation that needs the one before.
extern "C" __global__ void twice_plus(const float* x, float* y, float more) {
    y[threadIdx.x] = 2 * x[threadIdx.x] + more;
}
MC_EXPORT(twice_plus)

// Every thread gets what its right neighbor wrote.
extern "C" __global__ void neighbors(const int* x, int* y) {
    __shared__ int shared[64];
    shared[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
}
MC_EXPORT(neighbors)
