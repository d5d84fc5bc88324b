// The emulator of CUDA: blocks one after another, the threads of a block as fibres that hand over where they wait.
//
// A thread runs until it needs others (a barrier, an instruction of its warp) or ends, so the order in which threads
// get their turn is ours: a kernel must give the same result in every order, and one that lacks a barrier does not.
// Copies that are in flight land at the wait, at once, or either by chance, again by the order asked for.
//
// In other orders than forward, blocks do not see each other's results, again as it may be.
//
// What it cannot see: memory fences, bank conflicts and everything else about time, the bits of a GPU's fast functions
// and of multiply-adds in one rounding, and whether the layouts in instructions.cpp, taken from the PTX ISA, are a
// GPU's; probes.cu asks one.
#include "emulator.h"

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sys/mman.h>
#include <unordered_map>

uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuemu {

Emulator emulator;

unsigned random_below(unsigned bound) {
    emulator.random = emulator.random * 1664525u + 1013904223u;
    return (emulator.random >> 8) % bound;
}

namespace {

unsigned bounds_noted = MOST_THREADS;
std::unordered_map<const void*, unsigned> most_threads;  // by kernel

unsigned volume(uint3 size) { return size.x * size.y * size.z; }

uint3 position(unsigned number, uint3 size) {
    return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

void arrange(std::vector<unsigned>& numbers) {
    if (emulator.launch.order == RANDOM)
        for (size_t i = numbers.size(); i > 1; i--) std::swap(numbers[i - 1], numbers[random_below(i)]);
}

std::vector<unsigned> in_order(unsigned count) {
    std::vector<unsigned> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0u);
    if (emulator.launch.order == REVERSE) std::reverse(numbers.begin(), numbers.end());
    arrange(numbers);
    return numbers;
}

bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

// ---- lanes of a warp that meet --------------------------------------------------------------------------------------

// Hold the meeting that `asker` waits for if everybody has come; lanes that have ended are passed over.
bool complete_meeting(Warp& warp, const Fibre& asker) {
    unsigned needed = asker.lanes & warp.alive;
    if (needed & ~warp.waiting) return false;
    if (asker.meeting->whole_warp && needed != ~0u) {
        note("%s at %s:%d needs all 32 lanes of the warp", asker.meeting->name, file_name(asker.site.file),
             asker.site.line);
        return false;
    }
    Fibre* first = &emulator.fibres[asker.number / 32 * 32];
    void* brought[32] = {};
    for (unsigned lane = 0; lane < 32; lane++) {
        if (!(needed >> lane & 1)) continue;
        Fibre& fibre = first[lane];
        if (fibre.meeting != asker.meeting || fibre.lanes != asker.lanes || !same(fibre.site, asker.site)) {
            note("lanes of a warp wait for each other in different places: %s:%d and %s:%d", file_name(asker.site.file),
                 asker.site.line, file_name(fibre.site.file), fibre.site.line);
            return false;
        }
        brought[lane] = fibre.brought;
    }
    asker.meeting->complete(brought);
    for (unsigned lane = 0; lane < 32; lane++)
        if (needed >> lane & 1) first[lane].state = State::ready;
    warp.waiting &= ~needed;
    return true;
}

// ---- one block ------------------------------------------------------------------------------------------------------

void thread_main() {
    emulator.body(emulator.closure);
    Fibre& fibre = me();
    if (!fibre.open.empty() || !fibre.groups.empty())
        fail("the thread ends with copies in flight: cp_wait<0> is missing");
    fibre.state = State::done;
    my_warp().alive &= ~(1u << fibre.number % 32);
    emulator.alive--;
    yield_to_scheduler();
}

// So many bytes, with as many that cannot be touched before and behind.
char* between_forbidden(size_t bytes, size_t forbidden) {
    char* memory = (char*)mmap(nullptr, bytes + 2 * forbidden, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + forbidden, bytes, PROT_READ | PROT_WRITE)) abort();
    return memory + forbidden;
}

// All ones: NaN in every floating-point type, and an index far outside.
void fill(Range memory) { memset(memory.begin, 0xff, memory.end - memory.begin); }

bool filled(Range memory) {
    return std::all_of(memory.begin, memory.end, [](char byte) { return byte == (char)0xff; });
}

void begin_block(uint3 block) {
    blockIdx = block;
    emulator.alive = emulator.threads;
    for (unsigned number = 0; number < emulator.threads; number++) {
        Fibre& fibre = emulator.fibres[number];
        fibre.index = position(number, emulator.launch.block);
        fibre.number = number;
        fibre.state = State::ready;
        fibre.open.clear();
        fibre.groups.clear();
        prepare(fibre.context, fibre.stack, thread_main);
        if (number % 32 == 0) emulator.warps[number / 32] = {0, 0};
        emulator.warps[number / 32].alive |= 1u << number % 32;
    }
    fill({emulator.dynamic_shared.begin - SHARED_ALIGNMENT, emulator.shared_end});
    fill(emulator.static_shared);
}

// Everybody who can go on gets one turn; how many these were.
unsigned take_turns() {
    unsigned taken = 0;
    arrange(emulator.turns);
    for (unsigned number : emulator.turns) {
        Fibre& fibre = emulator.fibres[number];
        if (fibre.state != State::ready) continue;
        taken++;
        emulator.current = &fibre;
        threadIdx = fibre.index;
        switch_context(emulator.scheduler, fibre.context);
        emulator.current = nullptr;
        if (failed()) break;
    }
    return taken;
}

// Nobody can go on: lanes may wait for lanes that have ended since. Whether any were released.
bool release_lanes() {
    bool released = false;
    for (Fibre& fibre : emulator.fibres)
        if (fibre.state == State::in_warp) released |= complete_meeting(emulator.warps[fibre.number / 32], fibre);
    return released;
}

void tell_who_is_missing(const Fibre& waiting, unsigned at_barrier) {
    for (const Fibre& fibre : emulator.fibres)
        if (fibre.state == State::in_warp) {
            note("thread %u waits at %s:%d for lanes of its warp that do not come there", fibre.number,
                 file_name(fibre.site.file), fibre.site.line);
            return;
        }
    note("%u of %u threads are at the barrier in %s:%d, the others have ended", at_barrier, emulator.threads,
         file_name(waiting.site.file), waiting.site.line);
}

// Everybody is at the barrier, and at the same one, or it is an error.
void release_barrier() {
    unsigned at_barrier = 0;
    const Fibre* first = nullptr;
    for (const Fibre& fibre : emulator.fibres) {
        if (fibre.state != State::at_barrier) continue;
        at_barrier++;
        if (!first) first = &fibre;
        if (!same(fibre.site, first->site))
            return note("threads wait at different barriers: %s:%d and %s:%d", file_name(first->site.file),
                        first->site.line, file_name(fibre.site.file), fibre.site.line);
    }
    if (at_barrier != emulator.threads) return tell_who_is_missing(first ? *first : emulator.fibres[0], at_barrier);
    for (Fibre& fibre : emulator.fibres) fibre.state = State::ready;
}

void run_block(uint3 block) {
    begin_block(block);
    while (emulator.alive && !failed()) {
        if (take_turns() || failed()) continue;
        if (!release_lanes() && !failed()) release_barrier();
    }
    Range shared = emulator.dynamic_shared;
    if (!filled({shared.begin - SHARED_ALIGNMENT, shared.begin}) || !filled({shared.end, emulator.shared_end}))
        note("writes outside of its %u bytes of dynamic shared memory", emulator.launch.shared_bytes);
}

void make_room() {
    static char* const shared_end = between_forbidden(SHARED_ROOM, SHARED_ROOM) + SHARED_ROOM;
    size_t aligned = (emulator.launch.shared_bytes + SHARED_ALIGNMENT - 1) / SHARED_ALIGNMENT * SHARED_ALIGNMENT;
    emulator.shared_end = shared_end;
    emulator.dynamic_shared = {shared_end - aligned, shared_end - aligned + emulator.launch.shared_bytes};
    static std::vector<Stack> stacks;
    while (stacks.size() < emulator.threads) {
        // Where a stack is used first differs from stack to stack: at the same place in all of them, a CPU's cache,
        // which looks at the lower part of an address, would hold the stacks of a few threads only.
        size_t unused = stacks.size() * 576 % (STACK_BYTES / 4);
        stacks.push_back({between_forbidden(STACK_BYTES, STACK_MARGIN), STACK_BYTES - unused});
    }
    emulator.fibres.resize(emulator.threads);
    for (unsigned i = 0; i < emulator.threads; i++) emulator.fibres[i].stack = stacks[i];
    emulator.warps.resize((emulator.threads + 31) / 32);
}

}  // namespace

bool note_bounds(unsigned threads, unsigned) {
    bounds_noted = threads;
    return true;
}

bool note_kernel(const void* kernel) {
    most_threads[kernel] = bounds_noted;
    bounds_noted = MOST_THREADS;
    return true;
}

bool run(const void* kernel, const Launch& launch, Range static_shared, void (*body)(void*), void* closure) {
    emulator.launch = launch;
    emulator.static_shared = static_shared;
    emulator.body = body;
    emulator.closure = closure;
    emulator.threads = volume(launch.block);
    emulator.random = launch.seed * 2654435761u + 1;
    emulator.message[0] = 0;
    emulator.current = nullptr;
    blockIdx = {0, 0, 0};
    blockDim = launch.block;
    gridDim = launch.grid;
    if (emulator.threads > most_threads[kernel]) {
        note("%u threads, where __launch_bounds__ allows %u", emulator.threads, most_threads[kernel]);
        return false;
    }
    make_room();
    emulator.turns = in_order(emulator.threads);
    const FaultHandler handler;
    Isolation isolation(launch.written, launch.order == FORWARD ? 0 : launch.written_count);
    for (unsigned number : in_order(volume(launch.grid))) {
        run_block(position(number, launch.grid));
        isolation.end_block();
        if (failed()) return false;
    }
    isolation.end_launch();
    return true;
}

void meet(unsigned lanes, Site site, void* brought, const Meeting& meeting) {
    Fibre& fibre = me();
    unsigned bit = 1u << fibre.number % 32;
    if (!(lanes & bit))
        fail("%s at %s:%d is not for the lane that calls (lanes %#x)", meeting.name, file_name(site.file), site.line,
             lanes);
    fibre.site = site;
    fibre.lanes = lanes;
    fibre.brought = brought;
    fibre.meeting = &meeting;
    fibre.state = State::in_warp;
    my_warp().waiting |= bit;
    if (!complete_meeting(my_warp(), fibre)) yield_to_scheduler();
}

void barrier(Site site) {
    me().site = site;
    me().state = State::at_barrier;
    yield_to_scheduler();
}

unsigned lane() { return me().number % 32; }

unsigned char* dynamic_shared() { return (unsigned char*)emulator.dynamic_shared.begin; }

}  // namespace cuemu

extern "C" const char* cuemu_message() { return cuemu::emulator.message; }
