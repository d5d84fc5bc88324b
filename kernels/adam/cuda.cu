// The Adam step for up to eight parameters at once: block y has the y-th, and each number is read and written once.
#include "elements.h"

#define TENSOR(N) float *w##N, const float *g##N, float *m##N, float *v##N, long long n##N
#define PICK(WHAT)                                                                                                    \
    (blockIdx.y == 0 ? WHAT##0 : blockIdx.y == 1 ? WHAT##1 : blockIdx.y == 2 ? WHAT##2 : blockIdx.y == 3 ? WHAT##3    \
     : blockIdx.y == 4 ? WHAT##4 : blockIdx.y == 5 ? WHAT##5 : blockIdx.y == 6 ? WHAT##6 : WHAT##7)

struct Step {
    float lr, square_scale, eps, coupled, shrink;
    float first, first_share, second, second_share;
};

MC_DEV void move(float& w, float g, float& m, float& v, const Step& step) {
    const float slope = g + step.coupled * w;
    m = step.first * m + step.first_share * slope;
    v = step.second * v + step.second_share * slope * slope;
    w = step.shrink * w - step.lr * m / (sqrtf(v * step.square_scale) + step.eps);
}

// `live_lr` and `live_count`, where they are not null, hold the learning rate and how many steps were taken with this
// one: a recorded step has other numbers each time.
extern "C" __global__ void __launch_bounds__(256) step(
    TENSOR(0), TENSOR(1), TENSOR(2), TENSOR(3), TENSOR(4), TENSOR(5), TENSOR(6), TENSOR(7), const double* live_lr,
    double lr, const double* live_count, double count, double beta1, double beta2, double eps, double weight_decay,
    int decoupled) {
    MC_DYN_SMEM(memory);
    double* scales = reinterpret_cast<double*>(memory);
    if (threadIdx.x == 0) {  // powers of doubles take long: once a block
        const double steps = live_count ? *live_count : count;
        scales[0] = 1 / (1 - pow(beta1, steps));
        scales[1] = 1 / (1 - pow(beta2, steps));
    }
    __syncthreads();
    float* w = PICK(w);
    const float* g = PICK(g);
    float* m = PICK(m);
    float* v = PICK(v);
    const long long size = PICK(n), stride = static_cast<long long>(gridDim.x) * blockDim.x * 4;
    const double rate = live_lr ? *live_lr : lr;
    const Step how = {
        static_cast<float>(rate * scales[0]), static_cast<float>(scales[1]), static_cast<float>(eps),
        decoupled ? 0.f : static_cast<float>(weight_decay),
        decoupled ? static_cast<float>(1 - rate * weight_decay) : 1.f, static_cast<float>(beta1),
        static_cast<float>(1 - beta1), static_cast<float>(beta2), static_cast<float>(1 - beta2)};
    const bool aligned = aligned16(w) && aligned16(g) && aligned16(m) && aligned16(v);
    for (long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4; at < size; at += stride) {
        if (aligned && at + 4 <= size) {
            float weights[4], grads[4], means[4], squares[4];
            load<4>(w + at, weights);
            load<4>(g + at, grads);
            load<4>(m + at, means);
            load<4>(v + at, squares);
#pragma unroll
            for (int k = 0; k < 4; k++) move(weights[k], grads[k], means[k], squares[k], how);
            store<4>(w + at, weights);
            store<4>(m + at, means);
            store<4>(v + at, squares);
        } else {
            for (long long k = at; k < min(at + 4, size); k++) move(w[k], g[k], m[k], v[k], how);
        }
    }
}
MC_EXPORT(step)
