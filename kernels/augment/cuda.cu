// Augmentation: each thread makes one pixel of one image of the batch (see __init__.py for the definition).
//
// The steps of the CPU go over whole images, one after the other. Here a pixel is traced back through them, from where
// it ends to the four levels that it comes from, so that nothing is stored in between.
//
// Products are rounded before they are added to anything (`times`), as NumPy rounds them: a GPU that is left to itself
// makes one instruction with one rounding of both. So the batches of both devices are the same, bit for bit.
#include "device.h"

struct Amounts {  // of kernels/augment/__init__.py
    int image, flip;
    float cos, sin, warp_right, warp_down;
    int crop_right, crop_down;
    int top, bottom, left, right;
    int partner;
    float weight;
};

MC_DEV float times(float a, float b) { return __fmul_rn(a, b); }

// A place outside of 0..size-1, seen in a mirror that stands on the edge pixel.
MC_DEV int mirrored(int place, int size) {
    int far = 2 * (size - 1) - place;
    if (place < 0) place = -place;
    return place < far ? place : far;
}

MC_DEV float clamped(float place, int size) {
    return fminf(fmaxf(place, 0.f), (float)(size - 1));
}

MC_DEV float blend(float a, float b, float share) { return times(a, 1.f - share) + times(b, share); }

// Pixel (i, j) before mixing.
MC_DEV float pixel(const u8* images, const Amounts& row, int i, int j, int height, int width, float scale,
                   float shift) {
    if (row.top <= i && i < row.bottom && row.left <= j && j < row.right) return 0.f;
    float middle_x = 0.5f * (width - 1), middle_y = 0.5f * (height - 1);
    float across = mirrored(j + row.crop_right, width) - middle_x - row.warp_right;
    float down = mirrored(i + row.crop_down, height) - middle_y - row.warp_down;
    float column = clamped(times(row.cos, across) - times(row.sin, down) + middle_x, width);
    float line = clamped(times(row.sin, across) + times(row.cos, down) + middle_y, height);
    int left = (int)column, right = left + 1 < width ? left + 1 : left;
    int top = (int)line, bottom = top + 1 < height ? top + 1 : top;
    float x = column - left, y = line - top;
    if (row.flip) {
        left = width - 1 - left;
        right = width - 1 - right;
    }
    const u8* image = images + (long long)row.image * height * width;
    const u8 *upper = image + top * width, *lower = image + bottom * width;
    return blend(blend(times(upper[left], scale) - shift, times(upper[right], scale) - shift, x),
                 blend(times(lower[left], scale) - shift, times(lower[right], scale) - shift, x), y);
}

extern "C" __global__ void augment(const u8* images, const Amounts* amounts, float* out, int height, int width,
                                   float scale, float shift) {
    int place = blockIdx.y * blockDim.x + threadIdx.x;
    if (place >= height * width) return;
    int i = place / width, j = place % width;
    Amounts row = amounts[blockIdx.x];
    float value = pixel(images, row, i, j, height, width, scale, shift);
    if (row.weight != 1.f) {
        float other = pixel(images, amounts[row.partner], i, j, height, width, scale, shift);
        value = times(value, row.weight) + times(other, 1.f - row.weight);
    }
    out[(long long)blockIdx.x * height * width + place] = value;
}
MC_EXPORT(augment)
