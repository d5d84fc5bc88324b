// What CUDA sources are written in: the instructions of a GPU that C++ has no words for, behind plain functions.
//
// A kernel includes this header (and others of this folder) and nothing else, so that the same source runs
//   on a GPU         each function is one instruction of PTX; no header of the CUDA toolkit is needed;
//   in an emulator   the functions and CUDA's own words come from cuemu.h, which the tests put on the include path.
// It has no #ifdef of its own, and says MC_EXPORT(name) after each `extern "C" __global__` function.
//
// Instructions need an NVIDIA GPU of compute capability 8.0 or later. Source: NVIDIA, PTX ISA, "Warp Level Matrix
// Instructions" and "Data Movement and Conversion Instructions: Asynchronous copy".
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;  // also: how a bfloat16 is kept in memory
typedef unsigned int u32;    // also: two bfloat16, the first in the low half
typedef unsigned long long u64;

#ifdef __CUDACC__

#define MC_DEV __device__ __forceinline__  // a function that kernels call
#define MC_DYN_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]  // the launch says its size
#define MC_EXPORT(kernel)  // an emulator makes its way in here

MC_DEV u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Begin to copy 16 bytes to shared memory, or to write 16 zeros there unless `wanted`; `from` is then not read.
// Both addresses are multiples of 16. The copy is in flight until a cp_wait.
MC_DEV void cp_async16(void* to, const void* from, bool wanted) {
    int bytes = wanted ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}

// Close the group of copies that this thread began since the last cp_commit; a group may be empty.
MC_DEV void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait until no more than the N latest groups of this thread are in flight. What they copied is there for this thread;
// other threads see it after a __syncthreads.
template <int N>
MC_DEV void cp_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x8 matrices of 16-bit elements from shared memory: lane l gives the address of row l % 8 of matrix l / 8
// (16 bytes, aligned) and gets, in r[m], elements 2 * (l % 4) and the next of row l / 4 of matrix m. All 32 lanes.
MC_DEV void ldsm4(u32* r, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same with each matrix transposed: r[m] gets elements 2 * (l % 4) and the next of *column* l / 4.
MC_DEV void ldsm4t(u32* r, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c (16x8, float32) += a (16x16, bfloat16) times b (16x8, bfloat16), spread over the 32 lanes. With g = lane / 4 and
// t = lane % 4 this lane holds
//   a[0] (g, 2t) (g, 2t+1)   a[1] rows g+8   a[2] columns +8   a[3] both        b[0] (2t, g) (2t+1, g)   b[1] rows +8
//   c[0] (g, 2t)   c[1] (g, 2t+1)   c[2] (g+8, 2t)   c[3] (g+8, 2t+1)
MC_DEV void mma_bf16(float* c, const u32* a, const u32* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c (16x8, float32) += a (16x8) times b (8x8), both of what to_tf32 gives. With g and t as above
//   a[0] (g, t)   a[1] (g+8, t)   a[2] (g, t+4)   a[3] (g+8, t+4)   b[0] (t, g)   b[1] (t+4, g)   c as above
MC_DEV void mma_tf32(float* c, const u32* a, const u32* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The bits of x rounded to 10 bits of mantissa, halves away from zero: an operand of mma_tf32.
MC_DEV u32 to_tf32(float x) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// Two numbers rounded to bfloat16, halves to even.
MC_DEV u32 pack_bf16(float low, float high) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

#else
#include "cuemu.h"
#endif

MC_DEV u16 to_bf16(float x) { return (u16)pack_bf16(x, 0.f); }

MC_DEV float low_bf16(u32 pair) { return __uint_as_float(pair << 16); }
MC_DEV float high_bf16(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// An element of memory as a float, whichever of the two types it has: for kernels that are templates of it.
MC_DEV float to_float(float x) { return x; }
MC_DEV float to_float(u16 bf16) { return low_bf16(bf16); }

// The way back: `store(p, x)` rounds to the type that p points to.
MC_DEV void store(float* p, float x) { *p = x; }
MC_DEV void store(u16* p, float x) { *p = to_bf16(x); }
