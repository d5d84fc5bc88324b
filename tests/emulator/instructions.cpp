// The instructions of a warp: what each lane brings and gets, as NVIDIA's PTX ISA lays it out over the lanes.
#include "emulator.h"

using namespace cuemu;

namespace {

constexpr unsigned ALL = ~0u;

float bf16(unsigned bits16) { return cuemu_bits<float>(bits16 << 16); }

// ---- shuffle, vote --------------------------------------------------------------------------------------------------
struct Word {
    unsigned value, from, result;
};

void shuffle_words(Word* const* lanes) {
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!lanes[lane]) continue;
        const Word* source = lanes[lanes[lane]->from];
        lanes[lane]->result = source ? source->value : ALL;  // what a lane that is not there gives is not defined
    }
}

void collect_votes(Word* const* lanes) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        if (lanes[lane] && lanes[lane]->value) votes |= 1u << lane;
    for (unsigned lane = 0; lane < 32; lane++)
        if (lanes[lane]) lanes[lane]->result = votes;
}

// ---- ldmatrix -------------------------------------------------------------------------------------------------------
struct Row {
    const unsigned short* elements;  // 8 of them
    bool transposed;
    unsigned* r;
};

void spread_matrices(Row* const* lanes) {
    for (unsigned lane = 0; lane < 32; lane++)
        for (unsigned matrix = 0; matrix < 4; matrix++) {
            Row* const* rows = lanes + matrix * 8;
            unsigned i = lane / 4, j = lane % 4 * 2;
            unsigned low = lanes[lane]->transposed ? rows[j]->elements[i] : rows[i]->elements[j];
            unsigned high = lanes[lane]->transposed ? rows[j + 1]->elements[i] : rows[i]->elements[j + 1];
            lanes[lane]->r[matrix] = low | high << 16;
        }
}

// ---- mma ------------------------------------------------------------------------------------------------------------
struct Fragments {
    float* c;
    const unsigned *a, *b;
};

// c += a b for one warp, a (16, depth) and b (depth, 8) gathered from the lanes.
template <int depth>
void multiply(Fragments* const* lanes, const float (&a)[16][depth], const float (&b)[depth][8]) {
    for (int row = 0; row < 16; row++) {
        float sum[8] = {};
        for (int k = 0; k < depth; k++)
            for (int column = 0; column < 8; column++) sum[column] += a[row][k] * b[k][column];
        for (int column = 0; column < 8; column++)
            lanes[row % 8 * 4 + column / 2]->c[row / 8 * 2 + column % 2] += sum[column];
    }
}

void multiply_bf16(Fragments* const* lanes) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            for (int half = 0; half < 2; half++)
                a[g + i % 2 * 8][t * 2 + i / 2 * 8 + half] = bf16(lanes[lane]->a[i] >> half * 16 & 0xffff);
        for (int i = 0; i < 2; i++)
            for (int half = 0; half < 2; half++)
                b[t * 2 + i * 8 + half][g] = bf16(lanes[lane]->b[i] >> half * 16 & 0xffff);
    }
    multiply(lanes, a, b);
}

void multiply_tf32(Fragments* const* lanes) {
    float a[16][8], b[8][8];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = cuemu_bits<float>(lanes[lane]->a[i]);
        for (int i = 0; i < 2; i++) b[t + i * 4][g] = cuemu_bits<float>(lanes[lane]->b[i]);
    }
    multiply(lanes, a, b);
}

// PTX leaves open what becomes of an operand that is not rounded.
void need_tf32(const unsigned* bits, int count) {
    for (int i = 0; i < count; i++)
        if (bits[i] & 0x1fff && !std::isnan(cuemu_bits<float>(bits[i])))
            fail("mma_tf32: an operand is not what to_tf32 gives: %.9g", cuemu_bits<float>(bits[i]));
}

}  // namespace

void cuemu::warp_barrier(unsigned lanes, Site site) {
    static constexpr Meeting syncwarp{"__syncwarp", false, [](void* const*) {}};
    meet(lanes, site, nullptr, syncwarp);
}

unsigned cuemu::shuffle(unsigned lanes, unsigned value, unsigned from_lane, Site site) {
    static constexpr Meeting shuffle = meeting<Word, shuffle_words>("shuffle", false);
    Word word{value, from_lane, 0};
    meet(lanes, site, &word, shuffle);
    return word.result;
}

unsigned cuemu::ballot(unsigned lanes, bool vote, Site site) {
    static constexpr Meeting ballot = meeting<Word, collect_votes>("ballot", false);
    Word word{vote, 0, 0};
    meet(lanes, site, &word, ballot);
    return word.result;
}

void cuemu::load_matrices(unsigned* r, const void* row, bool transposed, Site site) {
    static constexpr Meeting ldmatrix = meeting<Row, spread_matrices>("ldmatrix", true);
    need_shared(row, "ldmatrix", site);
    Row mine{(const unsigned short*)row, transposed, r};
    meet(ALL, site, &mine, ldmatrix);
}

void mma_bf16(float* c, const unsigned* a, const unsigned* b, Site site) {
    static constexpr Meeting mma = meeting<Fragments, multiply_bf16>("mma_bf16", true);
    Fragments mine{c, a, b};
    meet(ALL, site, &mine, mma);
}

void mma_tf32(float* c, const unsigned* a, const unsigned* b, Site site) {
    static constexpr Meeting mma = meeting<Fragments, multiply_tf32>("mma_tf32", true);
    need_tf32(a, 4);
    need_tf32(b, 2);
    Fragments mine{c, a, b};
    meet(ALL, site, &mine, mma);
}

unsigned to_tf32(float x) {
    unsigned bits = cuemu_bits<unsigned>(x);
    if (std::isnan(x)) return 0x7fffffff;
    if (std::isinf(x)) return bits;
    return (bits + 0x1000) & ~0x1fffu;  // half of the last bit that stays: halves go away from zero
}

unsigned pack_bf16(float low, float high) {
    auto round = [](float x) {
        unsigned bits = cuemu_bits<unsigned>(x);
        if (std::isnan(x)) return 0x7fffu;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // halves go to even
    };
    return round(low) | round(high) << 16;
}
