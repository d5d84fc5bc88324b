// Max-pooling of images (images, height, width, channels), any window; a row is a pooled pixel, backward one of the image.
#include "channel_sums.h"
#include "elements.h"

struct Pool {  // where windows lie: see kernels/windows.py
    int height, width, channels, down, across;
    int kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
};
// A launch hands over numbers alone, so every kernel lists them and puts them together.
#define POOL_PARAMETERS                                                                                               \
    int height, int width, int channels, int down, int across, int kernel_y, int kernel_x, int stride_y,              \
        int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x
#define POOL                                                                                                          \
    Pool {                                                                                                            \
        height, width, channels, down, across, kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x,          \
            dilation_y, dilation_x                                                                                    \
    }

// The largest, and the number of the window's element that it was. The first of equals wins, and the first NaN.
template <class T, int V>
MC_DEV void pool_forward(const T* x, int rows, int rows_each, T* y, u8* choice, const Pool& p) {
    const Share share = share_of<V>(rows, rows_each);
    if (share.channel >= p.channels) return;
    for (int row = share.row; row < share.end; row += share.step) {
        const int top = row / p.across % p.down * p.stride_y - p.padding_y;
        const int left = row % p.across * p.stride_x - p.padding_x;
        const long long image = row / p.across / p.down;
        float best[V];
        u32 chosen[V] = {};
#pragma unroll
        for (int k = 0; k < V; k++) best[k] = __uint_as_float(0xff800000u);  // minus infinity, where all is padding
        bool first = true;
        for (int i = 0; i < p.kernel_y; i++) {
            const int py = top + i * p.dilation_y;
            for (int j = 0; j < p.kernel_x; j++) {
                const int px = left + j * p.dilation_x;
                if (py < 0 || py >= p.height || px < 0 || px >= p.width) continue;
                float value[V];
                load<V>(x + ((image * p.height + py) * p.width + px) * p.channels + share.channel, value);
#pragma unroll
                for (int k = 0; k < V; k++) {
                    if (first || (!(value[k] <= best[k]) && best[k] == best[k])) {
                        best[k] = value[k], chosen[k] = i * p.kernel_x + j;
                    }
                }
                first = false;
            }
        }
        const long long place = static_cast<long long>(row) * p.channels + share.channel;
        store<V>(y + place, best);
        store_bytes<V>(choice + place, chosen);
    }
}

// A pixel adds up the gradients of the windows that chose it, in the order of their elements.
template <class T, int V>
MC_DEV void pool_backward(const T* grad, const u8* choice, int rows, int rows_each, T* grad_x, const Pool& p) {
    const Share share = share_of<V>(rows, rows_each);
    if (share.channel >= p.channels) return;
    for (int row = share.row; row < share.end; row += share.step) {
        const int y = row / p.width % p.height + p.padding_y, x = row % p.width + p.padding_x;
        const long long image = row / p.width / p.height;
        float sum[V] = {};
        for (int i = 0; i < p.kernel_y; i++) {
            const int from_top = y - i * p.dilation_y, wy = from_top / p.stride_y;
            if (from_top < 0 || from_top % p.stride_y || wy >= p.down) continue;
            for (int j = 0; j < p.kernel_x; j++) {
                const int from_left = x - j * p.dilation_x, wx = from_left / p.stride_x;
                if (from_left < 0 || from_left % p.stride_x || wx >= p.across) continue;
                const long long place = ((image * p.down + wy) * p.across + wx) * p.channels + share.channel;
                float g[V];
                u32 chosen[V];
                load<V>(grad + place, g);
                load_bytes<V>(choice + place, chosen);
#pragma unroll
                for (int k = 0; k < V; k++) {
                    if (chosen[k] == static_cast<u32>(i * p.kernel_x + j)) sum[k] += g[k];
                }
            }
        }
        store<V>(grad_x + static_cast<long long>(row) * p.channels + share.channel, sum);
    }
}

#define POOLING(SUFFIX, T, V)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256, 4) forward_##SUFFIX(                                               \
        const T* x, int rows, int rows_each, T* y, u8* choice, POOL_PARAMETERS) {                                     \
        pool_forward<T, V>(x, rows, rows_each, y, choice, POOL);                                                      \
    }                                                                                                                 \
    MC_EXPORT(forward_##SUFFIX)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256, 4) backward_##SUFFIX(                                              \
        const T* grad, const u8* choice, int rows, int rows_each, T* grad_x, POOL_PARAMETERS) {                       \
        pool_backward<T, V>(grad, choice, rows, rows_each, grad_x, POOL);                                             \
    }                                                                                                                 \
    MC_EXPORT(backward_##SUFFIX)

POOLING(float4, float, 4)
POOLING(float1, float, 1)
POOLING(bfloat8, u16, 8)
POOLING(bfloat1, u16, 1)
