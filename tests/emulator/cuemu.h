// CUDA C++ for an ordinary C++ compiler: the words of CUDA, and the instructions of kernels/_gpu/device.h.
//
// Everything that does something is in the .cpp files. Functions that make lanes of a warp or threads of a block meet take
// the place in the source they are called from, so that a mistake can be told by its line.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

// ---- words ----------------------------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(bytes) alignas(bytes)

// Stands between `extern "C" void` and a kernel's name: ends that declaration, notes the bounds for the MC_EXPORT that
// follows (a library's variables are made in the order of its source), and begins anew.
#define __launch_bounds__(...)                                                                            \
    cuemu_no_kernel();                                                                                    \
    static const bool CUEMU_UNIQUE(__COUNTER__) __attribute__((unused)) = cuemu::note_bounds(__VA_ARGS__); \
    extern "C" void
#define CUEMU_UNIQUE(number) CUEMU_UNIQUE_NAME(number)
#define CUEMU_UNIQUE_NAME(number) cuemu_unique_##number

// Shared memory is a static variable, since one block runs at a time. Nothing else in a kernel's library is: its whole
// .bss is filled with NaN before each block (see MC_EXPORT).
#define __shared__ static

#define MC_DEV static inline __attribute__((unused))
#define MC_DYN_SMEM(name) unsigned char* const name = cuemu::dynamic_shared()

struct uint3 { unsigned x, y, z; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };

MC_DEV int2 make_int2(int x, int y) { return {x, y}; }
MC_DEV int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
MC_DEV uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
MC_DEV uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
MC_DEV float2 make_float2(float x, float y) { return {x, y}; }
MC_DEV float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern uint3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

// ---- what the emulator offers ---------------------------------------------------------------------------------------
namespace cuemu {

struct Site {
    const char* file;
    int line;
};
constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

struct Range {
    char *begin, *end;
};

// What a launch asks for; tests/emulator/driver.py has the same fields.
struct Launch {
    uint3 grid, block;
    unsigned shared_bytes;
    unsigned order;  // 0 forward, 1 reverse, 2 random
    unsigned seed;
    unsigned written_count;
    const Range* written;  // memory that the kernel may write
};

unsigned char* dynamic_shared();
void barrier(Site);
void warp_barrier(unsigned lanes, Site);
unsigned shuffle(unsigned lanes, unsigned value, unsigned from_lane, Site);
unsigned ballot(unsigned lanes, bool vote, Site);
unsigned lane();
void load_matrices(unsigned* r, const void* row, bool transposed, Site);
void wait_for_copies(unsigned in_flight);

bool note_bounds(unsigned threads, unsigned blocks = 1);  // of the kernel that is exported next
bool note_kernel(const void* kernel);

// Runs body(closure) for every thread; false if something went wrong (cuemu_message tells what).
bool run(const void* kernel, const Launch&, Range static_shared, void (*body)(void*), void* closure);

}  // namespace cuemu

void cp_async16(void* to, const void* from, bool wanted, cuemu::Site = cuemu::here());
void cp_commit();
template <int N>
void cp_wait() { cuemu::wait_for_copies(N); }
void mma_bf16(float* c, const unsigned* a, const unsigned* b, cuemu::Site = cuemu::here());
void mma_tf32(float* c, const unsigned* a, const unsigned* b, cuemu::Site = cuemu::here());
unsigned to_tf32(float);
unsigned pack_bf16(float low, float high);

MC_DEV void ldsm4(unsigned* r, const void* row, cuemu::Site site = cuemu::here()) {
    cuemu::load_matrices(r, row, false, site);
}
MC_DEV void ldsm4t(unsigned* r, const void* row, cuemu::Site site = cuemu::here()) {
    cuemu::load_matrices(r, row, true, site);
}

// ---- CUDA's functions -----------------------------------------------------------------------------------------------
MC_DEV void __syncthreads(cuemu::Site site = cuemu::here()) { cuemu::barrier(site); }
MC_DEV void __syncwarp(unsigned lanes = ~0u, cuemu::Site site = cuemu::here()) { cuemu::warp_barrier(lanes, site); }
MC_DEV void __threadfence() {}  // blocks run one after another
MC_DEV void __threadfence_block() {}

template <class To, class From>
To cuemu_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "values of 4 bytes only");
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

template <class T>
T cuemu_shuffle(unsigned lanes, T value, unsigned from_lane, cuemu::Site site) {
    return cuemu_bits<T>(cuemu::shuffle(lanes, cuemu_bits<unsigned>(value), from_lane, site));
}

template <class T>
T __shfl_sync(unsigned lanes, T value, int from, cuemu::Site site = cuemu::here()) {
    return cuemu_shuffle(lanes, value, from & 31, site);
}
template <class T>
T __shfl_xor_sync(unsigned lanes, T value, int mask, cuemu::Site site = cuemu::here()) {
    return cuemu_shuffle(lanes, value, cuemu::lane() ^ (mask & 31), site);
}
template <class T>
T __shfl_down_sync(unsigned lanes, T value, unsigned by, cuemu::Site site = cuemu::here()) {
    unsigned from = cuemu::lane() + by;
    return cuemu_shuffle(lanes, value, from < 32 ? from : cuemu::lane(), site);
}
template <class T>
T __shfl_up_sync(unsigned lanes, T value, unsigned by, cuemu::Site site = cuemu::here()) {
    unsigned lane = cuemu::lane();
    return cuemu_shuffle(lanes, value, lane >= by ? lane - by : lane, site);
}
MC_DEV unsigned __ballot_sync(unsigned lanes, int vote, cuemu::Site site = cuemu::here()) {
    return cuemu::ballot(lanes, vote != 0, site);
}
MC_DEV int __any_sync(unsigned lanes, int vote, cuemu::Site site = cuemu::here()) {
    return cuemu::ballot(lanes, vote != 0, site) != 0;
}
MC_DEV int __all_sync(unsigned lanes, int vote, cuemu::Site site = cuemu::here()) {
    return cuemu::ballot(lanes, vote == 0, site) == 0;
}

template <class T>
T atomicAdd(T*, T) {
    static_assert(sizeof(T) == 0, "no atomics, whose sums depend on the order of threads: add partial sums in order");
    return {};
}

template <class T>
T __ldg(const T* p) { return *p; }

MC_DEV unsigned __float_as_uint(float x) { return cuemu_bits<unsigned>(x); }
MC_DEV int __float_as_int(float x) { return cuemu_bits<int>(x); }
MC_DEV float __uint_as_float(unsigned x) { return cuemu_bits<float>(x); }
MC_DEV float __int_as_float(int x) { return cuemu_bits<float>(x); }
MC_DEV unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
MC_DEV int __popc(unsigned x) { return __builtin_popcount(x); }
MC_DEV int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
MC_DEV int __ffs(int x) { return __builtin_ffs(x); }
MC_DEV float rsqrtf(float x) { return 1.f / sqrtf(x); }
#define __expf expf  // the C library has a function of that name
#define __logf logf
MC_DEV float __fdividef(float a, float b) { return a / b; }
MC_DEV float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
MC_DEV float __fadd_rn(float a, float b) { return a + b; }
MC_DEV float __fmul_rn(float a, float b) { return a * b; }
MC_DEV float __fdiv_rn(float a, float b) { return a / b; }
MC_DEV float __fsqrt_rn(float x) { return sqrtf(x); }
MC_DEV float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }

// ---- the way in -----------------------------------------------------------------------------------------------------
namespace cuemu {

// One parameter in four letters: '*' for a pointer; f, i, u for the numbers (v for anything else); bytes; r if const.
template <class T>
constexpr char kind() {
    if (std::is_floating_point<T>::value) return 'f';
    if (!std::is_integral<T>::value) return 'v';
    return std::is_signed<T>::value ? 'i' : 'u';
}
template <class T>
struct Bytes { static constexpr char digit = sizeof(T) < 10 ? '0' + sizeof(T) : '?'; };
template <>
struct Bytes<void> { static constexpr char digit = '?'; };

template <class T>
struct Letters {
    static constexpr char text[] = {' ', kind<T>(), Bytes<T>::digit, ' '};
};
template <class T>
struct Letters<T*> {
    using Plain = std::remove_cv_t<T>;
    static constexpr char text[] = {'*', kind<Plain>(), Bytes<Plain>::digit, std::is_const<T>::value ? 'r' : 'w'};
};

template <class... Parameters>
void signature(void (*)(Parameters...), char* text) {
    ((memcpy(text, Letters<Parameters>::text, 4), text += 4), ...);
    *text = 0;
}

template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<Parameters>*)arguments[I]...);
}

template <class... Parameters>
bool launch(void (*kernel)(Parameters...), const Launch& how, Range static_shared, void** arguments) {
    struct Closure {
        void (*kernel)(Parameters...);
        void** arguments;
    } closure{kernel, arguments};
    auto body = [](void* p) {
        auto* c = (Closure*)p;
        call(c->kernel, c->arguments, std::index_sequence_for<Parameters...>{});
    };
    return run((const void*)kernel, how, static_shared, body, &closure);
}

}  // namespace cuemu

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];  // the linker's: this library's .bss

#define MC_EXPORT(kernel)                                                                                     \
    static const bool kernel##_noted __attribute__((unused)) = cuemu::note_kernel((const void*)kernel);       \
    CUEMU_ENTRY bool kernel##_launch(const cuemu::Launch* cuemu_how, void** cuemu_arguments) {                \
        return cuemu::launch(kernel, *cuemu_how, {__bss_start, _end}, cuemu_arguments);                       \
    }                                                                                                         \
    CUEMU_ENTRY void kernel##_signature(char* cuemu_text) { cuemu::signature(kernel, cuemu_text); }
#define CUEMU_ENTRY extern "C" __attribute__((visibility("default")))
