// Convolution and its gradients on a GPU of compute capability 8.0 or later, and whatever else is a matrix product.
// Images are (count, height, width, channels) here; kernels/_gpu/matrix.py launches these kernels and says what fits.
#include "convolution.h"
#include "epilogue.h"
#include "neighborhood.h"
#include "weight_gradient_3x3.h"

typedef Tile<4, 1, 64> Tall;    // 256 x 64: for few outputs
typedef Tile<2, 2, 64> Square;  // 128 x 128
typedef Tile<1, 2, 32> Small;   // 64 x 64: for small products, which would otherwise be too few blocks
typedef Tile<1, 2, 64> Wide;    // 64 x 128: for the gradient of the weight of few outputs

// ---- products -------------------------------------------------------------------------------------------------------

// Block x takes a tile, neighbors the same pixels and other outputs; block z takes `steps_each` of the steps. More than
// one of these leave partial sums in `y`, which is then (z, pixels, outputs).
template <class Math, class T>
MC_DEV void multiply(const typename Math::Number* images, const typename Math::Number* weight, void* y, int y_is_bf16,
                     const float* bias, float* statistics, int pixels, int steps_each, const Shape& s) {
    const int across = (s.outputs + T::COLUMNS - 1) / T::COLUMNS;
    const int first_pixel = blockIdx.x / across * T::ROWS, first_output = blockIdx.x % across * T::COLUMNS;
    const int first = blockIdx.z * steps_each, all = (length_of_sum(s) + STEP<Math> - 1) / STEP<Math>;
    typename T::WarpSums sums;
    multiply_windows<Math, T>(sums, images, weight, s, first_pixel, pixels, first_output, first,
                              min(steps_each, all - first));
    if (gridDim.z > 1) y = (float*)y + (long long)blockIdx.z * pixels * s.outputs;
    finish<T>(sums, y, y_is_bf16, bias, statistics, first_pixel, pixels, first_output, s.outputs);
}
#define MULTIPLY(name, Math, T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(T::THREADS, 2)                                                     \
        name(const Math::Number* images, const Math::Number* weight, void* y, int y_is_bf16, const float* bias,     \
             float* statistics, int pixels, int steps_each, SHAPE_PARAMETERS) {                                     \
        multiply<Math, T>(images, weight, y, y_is_bf16, bias, statistics, pixels, steps_each, SHAPE);               \
    }                                                                                                               \
    MC_EXPORT(name)

MULTIPLY(multiply_bfloat16_square, Bf16, Square)
MULTIPLY(multiply_bfloat16_small, Bf16, Small)
MULTIPLY(multiply_tf32_square, Tf32, Square)
MULTIPLY(multiply_tf32_small, Tf32, Small)
MULTIPLY(multiply_float32_square, F32, Square)
MULTIPLY(multiply_float32_small, F32, Small)

// The same for windows that neighborhood.h is for, whole sums only.
template <class Math, class T>
MC_DEV void multiply_same(const typename Math::Number* images, const typename Math::Number* weight, void* y,
                          int y_is_bf16, const float* bias, float* statistics, int pixels, const Shape& s) {
    const int across = (s.outputs + T::COLUMNS - 1) / T::COLUMNS;
    const int first_pixel = blockIdx.x / across * T::ROWS, first_output = blockIdx.x % across * T::COLUMNS;
    typename T::WarpSums sums;
    multiply_neighborhoods<Math, T>(sums, images, weight, s, first_pixel, pixels, first_output);
    finish<T>(sums, y, y_is_bf16, bias, statistics, first_pixel, pixels, first_output, s.outputs);
}
#define MULTIPLY_SAME(name, Math, T)                                                                                \
    extern "C" __global__ void __launch_bounds__(T::THREADS, 2)                                                     \
        name(const Math::Number* images, const Math::Number* weight, void* y, int y_is_bf16, const float* bias,     \
             float* statistics, int pixels, SHAPE_PARAMETERS) {                                                     \
        multiply_same<Math, T>(images, weight, y, y_is_bf16, bias, statistics, pixels, SHAPE);                      \
    }                                                                                                               \
    MC_EXPORT(name)

MULTIPLY_SAME(multiply_same_bfloat16_square, Bf16, Square)
MULTIPLY_SAME(multiply_same_bfloat16_tall, Bf16, Tall)
MULTIPLY_SAME(multiply_same_tf32_square, Tf32, Square)
MULTIPLY_SAME(multiply_same_tf32_tall, Tf32, Tall)

// Block x takes a tile of the gradient (outputs, k), block z `pixels_each` of the pixels: partial sums (z, outputs, k).
template <class Math, class T>
MC_DEV void weight_gradient(const typename Math::Number* images, const typename Math::Number* gradient, float* partial,
                            int pixels, int pixels_each, int padded, const Shape& s) {
    const int length = length_of_sum(s), across = (length + T::COLUMNS - 1) / T::COLUMNS;
    const int first_output = blockIdx.x / across * T::ROWS, first_k = blockIdx.x % across * T::COLUMNS;
    const int first = blockIdx.z * pixels_each;
    typename T::WarpSums sums;
    multiply_pixels<Math, T>(sums, images, gradient, padded, s, first_output, first_k, first,
                             min(first + pixels_each, pixels));
    finish<T>(sums, partial + (long long)blockIdx.z * s.outputs * length, 0, nullptr, nullptr, first_output, s.outputs,
              first_k, length);
}
#define WEIGHT_GRADIENT(name, Math, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(T::THREADS, 2)                                                     \
        name(const Math::Number* images, const Math::Number* gradient, float* partial, int pixels, int pixels_each, \
             int padded, SHAPE_PARAMETERS) {                                                                        \
        weight_gradient<Math, T>(images, gradient, partial, pixels, pixels_each, padded, SHAPE);                    \
    }                                                                                                               \
    MC_EXPORT(name)

WEIGHT_GRADIENT(weight_gradient_bfloat16_square, Bf16, Square)
WEIGHT_GRADIENT(weight_gradient_bfloat16_wide, Bf16, Wide)
WEIGHT_GRADIENT(weight_gradient_tf32_square, Tf32, Square)
WEIGHT_GRADIENT(weight_gradient_tf32_wide, Tf32, Wide)
WEIGHT_GRADIENT(weight_gradient_float32_square, F32, Square)
WEIGHT_GRADIENT(weight_gradient_float32_wide, F32, Wide)

// The same for windows that weight_gradient_3x3.h is for.
extern "C" __global__ void __launch_bounds__(NINE_THREADS, 2)
    weight_gradient_3x3_bfloat16(const u16* images, const u16* gradient, float* partial, int pixels, int pixels_each,
                                 int padded, int ring_rows, SHAPE_PARAMETERS) {
    const Shape s = SHAPE;
    const int across = channels / NINE_CHANNELS, first = blockIdx.z * pixels_each;
    const int first_output = blockIdx.x / across * NINE_OUTPUTS, first_channel = blockIdx.x % across * NINE_CHANNELS;
    NineSums sums;
    multiply_ring(sums, images, gradient, padded, s, pixels, ring_rows, first_output, first_channel, first,
                  min(first + pixels_each, pixels));
    write_nine(sums, partial + (long long)blockIdx.z * outputs * length_of_sum(s), s, first_output, first_channel);
}
MC_EXPORT(weight_gradient_3x3_bfloat16)

// ---- before and after -----------------------------------------------------------------------------------------------

MC_DEV long long thread_number() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

// Images of any strides (in elements) as a product wants them: channels last, zeros up to `padded` channels, pixels
// `spread` apart with zeros between, so that a window of stride `spread` runs backwards with stride 1.
template <class Number>
MC_DEV void pack_images(const void* x, int x_is_bf16, long long along_n, long long along_c, long long along_h,
                        long long along_w, Number* packed, int channels, int padded, int spread_y, int spread_x,
                        int height, int width, long long size) {
    const long long me = thread_number();
    if (me >= size) return;
    const int c = me % padded, w = me / padded % width, h = me / padded / width % height;
    const long long n = me / padded / width / height;
    float value = 0.f;
    if (c < channels && h % spread_y == 0 && w % spread_x == 0) {
        const long long at = n * along_n + c * along_c + h / spread_y * along_h + w / spread_x * along_w;
        value = x_is_bf16 ? to_float(((const u16*)x)[at]) : ((const float*)x)[at];
    }
    store(packed + me, value);
}
#define PACK_IMAGES(name, Number)                                                                                   \
    extern "C" __global__ void name(const void* x, int x_is_bf16, long long along_n, long long along_c,             \
                                    long long along_h, long long along_w, Number* packed, int channels, int padded, \
                                    int spread_y, int spread_x, int height, int width, long long size) {            \
        pack_images(x, x_is_bf16, along_n, along_c, along_h, along_w, packed, channels, padded, spread_y, spread_x, \
                    height, width, size);                                                                           \
    }                                                                                                               \
    MC_EXPORT(name)

PACK_IMAGES(pack_images_bfloat16, u16)
PACK_IMAGES(pack_images_float32, float)

// Weights as a product wants them: packed[r][element][c] = weight[r * along_r + c * along_c + element], zeros up to
// `padded` columns. Backwards, columns are outputs and the elements are in reverse order. A block of 32 x 8 threads
// turns tiles of 32 x 32 in shared memory, so that neighboring lanes read, and write, what is near each other in
// memory.
MC_DEV void store_rounded(u16* to, float value, int) { store(to, value); }
MC_DEV void store_rounded(float* to, float value, int to_10_bits) {
    *to = to_10_bits ? __uint_as_float(to_tf32(value)) : value;
}
template <class Number>
MC_DEV void pack_weight(const float* weight, Number* packed, int rows, int columns, int padded, int elements,
                        long long along_r, long long along_c, int backwards, int to_10_bits) {
    __shared__ float tile[32][33];
    const int first_r = blockIdx.y * 32, first_c = blockIdx.x * 32, x = threadIdx.x;
    for (int e = 0; e < elements; e++) {
        const float* from = weight + (backwards ? elements - 1 - e : e);
        for (int n = threadIdx.y; n < 32; n += 8) {
            const int r = backwards ? x : n, c = backwards ? n : x;
            const bool there = first_r + r < rows && first_c + c < columns;
            tile[r][c] = there ? from[(first_r + r) * along_r + (first_c + c) * along_c] : 0.f;
        }
        __syncthreads();
        for (int r = threadIdx.y; r < min(32, rows - first_r); r += 8)
            if (first_c + x < padded)
                store_rounded(packed + ((long long)(first_r + r) * elements + e) * padded + first_c + x,
                              tile[r][x], to_10_bits);
        __syncthreads();
    }
}
#define PACK_WEIGHT(name, Number)                                                                                   \
    extern "C" __global__ void name(const float* weight, Number* packed, int rows, int columns, int padded,         \
                                    int elements, long long along_r, long long along_c, int backwards,              \
                                    int to_10_bits) {                                                               \
        pack_weight(weight, packed, rows, columns, padded, elements, along_r, along_c, backwards, to_10_bits);      \
    }                                                                                                               \
    MC_EXPORT(name)

PACK_WEIGHT(pack_weight_bfloat16, u16)
PACK_WEIGHT(pack_weight_float32, float)

// Partial sums (count, size) added up in order, plus a bias for each of the `outputs` (columns) where there is one.
extern "C" __global__ void add_partial(const float* partial, int count, const float* bias, void* sum, int sum_is_bf16,
                                       int outputs, long long size) {
    const long long me = thread_number();
    if (me >= size) return;
    float total = bias ? bias[me % outputs] : 0.f;
    for (int n = 0; n < count; n++) total += partial[n * size + me];
    if (sum_is_bf16)
        store((u16*)sum + me, total);
    else
        store((float*)sum + me, total);
}
MC_EXPORT(add_partial)

// The same for gradients of a weight: partial (count, outputs, elements, padded) to (outputs, channels, elements).
extern "C" __global__ void add_weight_gradients(const float* partial, int count, float* gradient, int channels,
                                                int padded, int elements, int outputs) {
    const long long me = thread_number(), size = (long long)outputs * elements * padded;
    const int c = me % padded, e = me / padded % elements;
    if (me >= size || c >= channels) return;
    float total = 0.f;
    for (int n = 0; n < count; n++) total += partial[n * size + me];
    gradient[(me / padded / elements * channels + c) * elements + e] = total;
}
MC_EXPORT(add_weight_gradients)

// The gradient of a bias: sums of `gradient` (n, c, h, w; strides in elements) over the pixels of each block, partial
// (blocks, channels). A block has 32 x 8 threads; the 8 go through its pixels together.
extern "C" __global__ void sum_pixels(const float* gradient, long long along_n, long long along_c, long long along_h,
                                      long long along_w, float* partial, int channels, int height, int width,
                                      int pixels, int pixels_each) {
    __shared__ float sums[8][32];
    const int c = blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * pixels_each;
    float sum = 0.f;
    if (c < channels)
        for (int p = first + threadIdx.y; p < min(first + pixels_each, pixels); p += 8) {
            const int row = p / width;
            sum += gradient[row / height * along_n + c * along_c + row % height * along_h + p % width * along_w];
        }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || c >= channels) return;
    for (int n = 1; n < 8; n++) sum += sums[n][threadIdx.x];
    partial[(long long)blockIdx.y * channels + c] = sum;
}
MC_EXPORT(sum_pixels)
