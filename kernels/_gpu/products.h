// How a warp multiplies two tiles that lie in shared memory, in each of the three precisions.
//
// The sums of all three are spread over the 32 lanes as the tensor cores spread theirs (mma_bf16 in device.h), so that
// everything that follows the multiplication is written once. A tile comes in one of two orders:
//
//   rows      each row is 64 bytes of the dimension that is summed over: images and packed weights, channels last;
//   columns   each row is one element of the dimension that is summed over: pixels, for the gradient of the weight.
//
// Shared memory has 32 banks of 4 bytes, and lanes that meet in a bank take turns. The chunks of 16 bytes within each
// row are therefore swapped in a pattern that depends on the row (a swizzle); the comments say whom it keeps apart.
#pragma once
#include "device.h"

// The precisions: what the numbers that are multiplied are in memory, and how many pixels of tiles in columns are
// summed over at once. A chunk is 16 bytes of such numbers.
struct Bf16 {
    typedef u16 Number;
    static constexpr int PIXELS = 16;
};
struct Tf32 {
    typedef float Number;
    static constexpr int PIXELS = 8;
};
struct F32 {
    typedef float Number;
    static constexpr int PIXELS = 1;
};
template <class Math> constexpr int CHUNK = 16 / sizeof(typename Math::Number);

constexpr int ROW_BYTES = 64;
constexpr int ROW_CHUNKS = ROW_BYTES / 16;
template <class Math> constexpr int STEP = ROW_CHUNKS * CHUNK<Math>;  // how much is summed over in one step

// The sums of a warp: M fragments of 16 rows times N fragments of 8 columns, four numbers of each in every lane.
template <int M, int N> struct Sums {
    float at[M][N][4];
};

MC_DEV int lane() { return threadIdx.x % 32; }
MC_DEV int row_of(int fragment, int q) { return fragment * 16 + q / 2 * 8 + lane() / 4; }
MC_DEV int column_of(int fragment, int q) { return fragment * 8 + lane() % 4 * 2 + q % 2; }

template <int M, int N> MC_DEV void clear(Sums<M, N>& sums) {
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int q = 0; q < 4; q++) sums.at[i][j][q] = 0.f;
}

MC_DEV void multiply_fragments(Bf16, float* sums, const u32* a, const u32* b) { mma_bf16(sums, a, b); }
MC_DEV void multiply_fragments(Tf32, float* sums, const u32* a, const u32* b) { mma_tf32(sums, a, b); }

// Weights are rounded when they are packed; what comes straight from an array of floats is rounded in registers.
MC_DEV void round_fragment(Bf16, u32*, int) {}
MC_DEV void round_fragment(Tf32, u32* numbers, int count) {
#pragma unroll
    for (int q = 0; q < count; q++) numbers[q] = to_tf32(__uint_as_float(numbers[q]));
}

// ---- tiles in rows --------------------------------------------------------------------------------------------------

// Where a chunk of a row lies. Any eight consecutive rows have the same chunk in eight different places of the 128
// bytes that all banks hold together, which is what ldmatrix reads at once: two rows fill them, the third swaps its
// chunks.
MC_DEV int place_at(int row_begin, int chunk) { return row_begin + (chunk << 4 ^ (row_begin >> 3 & 48)); }
MC_DEV int place_in_row(int row, int chunk) { return place_at(row * ROW_BYTES, chunk); }

// One step on tensor cores: sums += a[rows] * b[columns]. `a_rows` are the rows of `a` that this lane gives addresses
// of: those of lane % 16 in each fragment. `b` begins at the first column of the warp, which is a multiple of 16.
template <class Math, int M, int N>
MC_DEV void multiply_rows(Math math, Sums<M, N>& sums, const u8* a, const int* a_rows, const u8* b) {
    const int b_row = lane() % 8 + lane() / 16 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {  // 32 bytes of every row are one fragment of either precision
        u32 fragment_a[M][4], fragment_b[N / 2][4];
#pragma unroll
        for (int i = 0; i < M; i++) {
            ldsm4(fragment_a[i], a + place_in_row(a_rows[i], half * 2 + lane() / 16));
            round_fragment(math, fragment_a[i], 4);
        }
#pragma unroll
        for (int j = 0; j < N / 2; j++)
            ldsm4(fragment_b[j], b + place_in_row(j * 16 + b_row, half * 2 + lane() / 8 % 2));
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int j = 0; j < N; j++)
                multiply_fragments(math, sums.at[i][j], fragment_a[i], fragment_b[j / 2] + j % 2 * 2);
    }
}

// The same without tensor cores; `a` begins at the first row of the warp. Two numbers of each row are read at once:
// that is where reading takes less time than multiplying, and more would not fit the registers.
template <int M, int N> MC_DEV void multiply_rows(F32, Sums<M, N>& sums, const u8* a, const int*, const u8* b) {
#pragma unroll 2
    for (int k = 0; k < ROW_BYTES / 8; k++) {
        const int inside = k % 2 * 8;
        float2 from_a[M][2];
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                from_a[i][h] = *(const float2*)(a + place_in_row(row_of(i, h * 2), k / 2) + inside);
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const float2 from_b = *(const float2*)(b + place_in_row(column_of(j, e), k / 2) + inside);
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        float& sum = sums.at[i][j][h * 2 + e];
                        sum += from_a[i][h].x * from_b.x;
                        sum += from_a[i][h].y * from_b.y;
                    }
            }
    }
}

// ---- tiles in columns -----------------------------------------------------------------------------------------------

// Where a chunk lies in a tile whose rows have COLUMNS numbers. In bfloat16, ldmatrix reads a chunk of eight
// consecutive rows at once; of floats, lanes read two chunks of four rows at once. Either pattern spreads them over all
// banks.
template <class Math, int COLUMNS> MC_DEV int place_in_column(int row, int chunk) {
    const int swap = CHUNK<Math> == 8 ? row % 8 : row % 4 * 2;
    return row * COLUMNS * (int)sizeof(typename Math::Number) + ((chunk ^ swap) << 4);
}

template <int COLUMNS> MC_DEV u32 number_in_column(const u8* tile, int row, int column) {
    return *(const u32*)(tile + place_in_column<F32, COLUMNS>(row, column / 4) + column % 4 * 4);
}

// Sixteen pixels: sums[r][c] += a[pixel][first_row + r] * b[pixel][first_column + c]. ldmatrix turns them on the way.
template <int A, int B, int M, int N>
MC_DEV void multiply_columns(Bf16 math, Sums<M, N>& sums, const u8* a, int first_row, const u8* b, int first_column,
                             int pixel) {
    u32 fragment_a[M][4], fragment_b[N / 2][4];
#pragma unroll
    for (int i = 0; i < M; i++)
        ldsm4t(fragment_a[i], a + place_in_column<Bf16, A>(pixel + lane() % 8 + lane() / 16 * 8,
                                                           (first_row + i * 16) / 8 + lane() / 8 % 2));
#pragma unroll
    for (int j = 0; j < N / 2; j++)
        ldsm4t(fragment_b[j], b + place_in_column<Bf16, B>(pixel + lane() % 16,
                                                           (first_column + j * 16) / 8 + lane() / 16));
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
            multiply_fragments(math, sums.at[i][j], fragment_a[i], fragment_b[j / 2] + j % 2 * 2);
}

// Eight pixels. ldmatrix turns numbers of 16 bits only, so every lane reads its own.
template <int A, int B, int M, int N>
MC_DEV void multiply_columns(Tf32 math, Sums<M, N>& sums, const u8* a, int first_row, const u8* b, int first_column,
                             int pixel) {
    const int row = lane() / 4, near = pixel + lane() % 4, far = near + 4;
    u32 fragment_a[M][4];
#pragma unroll
    for (int i = 0; i < M; i++) {
        const int r = first_row + i * 16 + row;
        fragment_a[i][0] = number_in_column<A>(a, near, r), fragment_a[i][1] = number_in_column<A>(a, near, r + 8);
        fragment_a[i][2] = number_in_column<A>(a, far, r), fragment_a[i][3] = number_in_column<A>(a, far, r + 8);
        round_fragment(math, fragment_a[i], 4);
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        const int c = first_column + j * 8 + row;
        u32 fragment_b[2] = {number_in_column<B>(b, near, c), number_in_column<B>(b, far, c)};
        round_fragment(math, fragment_b, 2);
#pragma unroll
        for (int i = 0; i < M; i++) multiply_fragments(math, sums.at[i][j], fragment_a[i], fragment_b);
    }
}

// One pixel.
template <int A, int B, int M, int N>
MC_DEV void multiply_columns(F32, Sums<M, N>& sums, const u8* a, int first_row, const u8* b, int first_column,
                             int pixel) {
    float from_a[M][2];
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            from_a[i][h] = __uint_as_float(number_in_column<A>(a, pixel, first_row + row_of(i, h * 2)));
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float from_b = __uint_as_float(number_in_column<B>(b, pixel, first_column + column_of(j, e)));
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) sums.at[i][j][h * 2 + e] += from_a[i][h] * from_b;
        }
}
