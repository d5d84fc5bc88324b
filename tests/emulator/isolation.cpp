// Blocks that do not see each other: each starts from the memory as it was before the launch.
//
// On a GPU blocks run at the same time, so that a sum to which two of them add loses one of them, and what one block
// reads of another's results is chance. One after another on the same memory, they would seem to work.
#include "emulator.h"

namespace cuemu {

Isolation::Isolation(const Range* written, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        std::vector<char> before(written[i].begin, written[i].end);
        memories_.push_back({written[i], before, before});
    }
}

void Isolation::end_block() {
    constexpr size_t STRIDE = 256;  // most of the memory is as it was, which is seen quickly
    for (Memory& memory : memories_)
        for (size_t at = 0; at < memory.before.size(); at += STRIDE) {
            const size_t size = std::min(STRIDE, memory.before.size() - at);
            if (memcmp(memory.now.begin + at, &memory.before[at], size)) take_over(memory, at, at + size);
        }
}

void Isolation::take_over(Memory& memory, size_t begin, size_t end) {
    for (size_t at = begin; at < end; at++) {
        char& now = memory.now.begin[at];
        const char before = memory.before[at];
        if (now == before) continue;
        if (memory.after[at] != before && memory.after[at] != now)
            note("two blocks write different numbers to one place, at address %p", (void*)&now);
        memory.after[at] = now;
        now = before;
    }
}

void Isolation::end_launch() {
    for (const Memory& memory : memories_) std::copy(memory.after.begin(), memory.after.end(), memory.now.begin);
}

}  // namespace cuemu
