// What becomes of the sums of a block: written out, with a bias added or with the statistics of each output beside
// them.
#pragma once
#include "products.h"

MC_DEV void store_pair(float* to, float first, float second) { *(float2*)to = make_float2(first, second); }
MC_DEV void store_pair(u16* to, float first, float second) { *(u32*)to = pack_bf16(first, second); }

// Where a chunk lies in the shared memory that a warp gathers its rows in: lanes that write together hold one chunk of
// eight rows, or two chunks of four rows where the numbers are floats.
template <class Out, int COLUMNS> MC_DEV int place_gathered(int row, int chunk) {
    constexpr int CHUNKS = COLUMNS * (int)sizeof(Out) / 16;
    const int swap = sizeof(Out) == 2 ? row % (CHUNKS < 8 ? CHUNKS : 8) : row % 4 * 2;
    return row * CHUNKS * 16 + ((chunk ^ swap) << 4);
}

// Writes a warp's sums to `to` (pixels, outputs). Each lane holds pairs of many rows; through shared memory
// (`gathered`, the warp's own) they become chunks of 16 bytes, which go out in long runs of memory.
template <class Out, int M, int N>
MC_DEV void write_out(const Sums<M, N>& sums, u8* gathered, Out* to, const float* bias, int first_pixel, int pixels,
                      int first_output, int outputs) {
    constexpr int COLUMNS = N * 8, PER_CHUNK = 16 / (int)sizeof(Out), CHUNKS = COLUMNS / PER_CHUNK;
#pragma unroll
    for (int j = 0; j < N; j++) {
        const int column = column_of(j, 0), output = first_output + column;
        float add[2] = {0.f, 0.f};
        if (bias) {
            if (output < outputs) add[0] = bias[output];
            if (output + 1 < outputs) add[1] = bias[output + 1];
        }
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int q = 0; q < 4; q += 2) {
                Out* chunk = (Out*)(gathered + place_gathered<Out, COLUMNS>(row_of(i, q), column / PER_CHUNK));
                store_pair(chunk + column % PER_CHUNK, sums.at[i][j][q] + add[0], sums.at[i][j][q + 1] + add[1]);
            }
    }
    __syncwarp();
    const bool whole = outputs % PER_CHUNK == 0;
    for (int n = lane(); n < M * 16 * CHUNKS; n += 32) {
        const int row = n / CHUNKS, pixel = first_pixel + row, output = first_output + n % CHUNKS * PER_CHUNK;
        if (pixel >= pixels || output >= outputs) continue;
        const u8* chunk = gathered + place_gathered<Out, COLUMNS>(row, n % CHUNKS);
        Out* place = to + (long long)pixel * outputs + output;
        if (whole)
            *(uint4*)place = *(const uint4*)chunk;
        else
            for (int k = 0; k < min(PER_CHUNK, outputs - output); k++) place[k] = ((const Out*)chunk)[k];
    }
}

// The sum over the eight lanes that hold the same columns.
MC_DEV float add_rows(float value) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

// For each output of a warp, over the 64 pixels that begin at `first_pixel`: their sum, and the sum of the squares of
// what they differ from their own mean by, which loses no digits where the mean is large.
// They go to `statistics` (blocks of 64 pixels, 2, outputs). Rows past the last pixel hold zeros.
template <int M, int N>
MC_DEV void write_statistics(const Sums<M, N>& sums, float* statistics, int first_pixel, int pixels, int first_output,
                             int outputs) {
    const int count = min(M * 16, pixels - first_pixel);
    if (count <= 0) return;  // the whole warp
    float* to = statistics + (long long)(first_pixel / (M * 16)) * 2 * outputs;
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = 0.f, squares = 0.f;
#pragma unroll
            for (int i = 0; i < M; i++) sum += sums.at[i][j][e] + sums.at[i][j][e + 2];
            sum = add_rows(sum);
            const float mean = sum / count;
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int q = e; q < 4; q += 2) {
                    const float difference = sums.at[i][j][q] - mean;
                    if (row_of(i, q) < count) squares += difference * difference;
                }
            squares = add_rows(squares);
            const int output = first_output + column_of(j, e);
            if (lane() < 4 && output < outputs) to[output] = sum, to[outputs + output] = squares;
        }
}

// All that a block does with its sums. `to` is float or bfloat16, as `to_bf16` says; bias and statistics may be null.
template <class T>
MC_DEV void finish(const typename T::WarpSums& sums, void* to, int to_bf16, const float* bias, float* statistics,
                   int first_pixel, int pixels, int first_output, int outputs) {
    MC_DYN_SMEM(shared);
    const int pixel = first_pixel + T::warp_row(), output = first_output + T::warp_column();
    __syncthreads();  // nobody reads the stages any more
    if (statistics) write_statistics(sums, statistics, pixel, pixels, output, outputs);
    u8* gathered = shared + threadIdx.x / 32 * (T::M * 16 * T::N * 8 * 4);
    if (to_bf16)
        write_out(sums, gathered, (u16*)to, bias, pixel, pixels, output, outputs);
    else
        write_out(sums, gathered, (float*)to, bias, pixel, pixels, output, outputs);
}
