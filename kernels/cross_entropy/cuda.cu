// Softmax cross-entropy: a warp a row, whose lanes take every 32nd class.
#include "device.h"

MC_DEV float over_lanes_sum(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
    return value;
}

MC_DEV float over_lanes_max(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, distance));
    return value;
}

extern "C" __global__ void __launch_bounds__(256) forward(
    const float* logits, const float* target, int rows, int classes, float* loss, float* probabilities) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;  // the whole warp
    const long long first = static_cast<long long>(row) * classes;
    float largest = logits[first];  // what fmaxf does not keep, NaN, makes the total NaN
    for (int c = lane; c < classes; c += 32) largest = fmaxf(largest, logits[first + c]);
    largest = over_lanes_max(largest);
    float total = 0.f;
    for (int c = lane; c < classes; c += 32) total += expf(logits[first + c] - largest);
    total = over_lanes_sum(total);
    const float log_total = logf(total);
    float sum = 0.f;
    for (int c = lane; c < classes; c += 32) {
        const float shifted = logits[first + c] - largest, weight = target[first + c];
        probabilities[first + c] = expf(shifted) / total;
        if (weight != 0.f) sum -= weight * (shifted - log_total);  // 0 * -inf, another class's logit, would be NaN
    }
    sum = over_lanes_sum(sum);
    if (lane == 0) loss[row] = sum;
}
MC_EXPORT(forward)

extern "C" __global__ void __launch_bounds__(256) backward(
    const float* grad, const float* probabilities, const float* target, int rows, int classes, float* grad_logits) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    const long long first = static_cast<long long>(row) * classes;
    float weights = 0.f;
    for (int c = lane; c < classes; c += 32) weights += target[first + c];
    weights = over_lanes_sum(weights);
    for (int c = lane; c < classes; c += 32) {
        grad_logits[first + c] = grad[row] * (probabilities[first + c] * weights - target[first + c]);
    }
}
MC_EXPORT(backward)
