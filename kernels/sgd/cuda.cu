// The SGD step for up to eight parameters at once: block y has the y-th, and each number is read and written once.
#include "elements.h"

#define TENSOR(N) float *w##N, const float *g##N, float *v##N, long long n##N
#define PICK(WHAT)                                                                                                    \
    (blockIdx.y == 0 ? WHAT##0 : blockIdx.y == 1 ? WHAT##1 : blockIdx.y == 2 ? WHAT##2 : blockIdx.y == 3 ? WHAT##3    \
     : blockIdx.y == 4 ? WHAT##4 : blockIdx.y == 5 ? WHAT##5 : blockIdx.y == 6 ? WHAT##6 : WHAT##7)

struct Step {
    float lr, momentum, coupled, shrink;
    bool nesterov;
};

MC_DEV void move(float& w, float g, float& v, const Step& step) {
    const float slope = g + step.coupled * w;
    v = step.momentum * v + slope;
    w = step.shrink * w - step.lr * (step.nesterov ? slope + step.momentum * v : v);
}

// `live`, where it is not null, holds the learning rate: a recorded step has another one each time.
extern "C" __global__ void __launch_bounds__(256) step(
    TENSOR(0), TENSOR(1), TENSOR(2), TENSOR(3), TENSOR(4), TENSOR(5), TENSOR(6), TENSOR(7), const double* live, double lr,
    float momentum, int nesterov, double weight_decay, int decoupled) {
    float* w = PICK(w);
    const float* g = PICK(g);
    float* v = PICK(v);
    const long long size = PICK(n), stride = static_cast<long long>(gridDim.x) * blockDim.x * 4;
    const double rate = live ? *live : lr;
    const Step how = {
        static_cast<float>(rate), momentum, decoupled ? 0.f : static_cast<float>(weight_decay),
        decoupled ? static_cast<float>(1 - rate * weight_decay) : 1.f, nesterov != 0};
    const bool aligned = aligned16(w) && aligned16(g) && aligned16(v);
    for (long long at = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * 4; at < size; at += stride) {
        if (aligned && at + 4 <= size) {
            float weights[4], grads[4], velocities[4];
            load<4>(w + at, weights);
            load<4>(g + at, grads);
            load<4>(v + at, velocities);
#pragma unroll
            for (int k = 0; k < 4; k++) move(weights[k], grads[k], velocities[k], how);
            store<4>(w + at, weights);
            store<4>(v + at, velocities);
        } else {
            for (long long k = at; k < min(at + 4, size); k++) move(w[k], g[k], v[k], how);
        }
    }
}
MC_EXPORT(step)
