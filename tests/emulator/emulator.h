// Inside the emulator: its state, and what its parts do for each other.
#pragma once

#include "cuemu.h"

#include <algorithm>
#include <deque>
#include <vector>

#if defined(__x86_64__) && !defined(CUEMU_UCONTEXT)
#define CUEMU_FAST_SWITCH
#else
#include <ucontext.h>
#endif

namespace cuemu {

constexpr unsigned MOST_THREADS = 1024;
constexpr size_t PAGE = 4096;
constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t STACK_MARGIN = 1 << 20;
constexpr size_t SHARED_ROOM = 256 << 10;  // more than any GPU has for a block
constexpr size_t SHARED_ALIGNMENT = 1024;  // MC_DYN_SMEM's on a GPU

// Where a thread of control stands while another one runs.
#ifdef CUEMU_FAST_SWITCH
struct Context {
    void* stack_pointer;
};
#else
struct Context {
    ucontext_t registers;
};
#endif

struct Stack {
    char* memory;
    size_t bytes;
};

// Make `context` begin in `entry` on this stack when it is first switched to.
void prepare(Context& context, Stack stack, void (*entry)());
// Stand still in `from` and go on in `to`.
void switch_context(Context& from, Context& to);

// What lanes of a warp do together: `complete` gets what each of them brought, null for those that are not named.
struct Meeting {
    const char* name;
    bool whole_warp;  // lanes that have ended are missed, not passed over: PTX's .aligned
    void (*complete)(void* const brought[32]);
};

// Fails unless the 16 bytes are in the block's shared memory, and the address is a multiple of 16.
void need_shared(const void* p, const char* instruction, Site);

enum Order { FORWARD, REVERSE, RANDOM };
enum class State { ready, at_barrier, in_warp, done };

struct Copy {
    void* to;
    const void* from;  // null: zeros
};

struct Fibre {
    Context context;
    Stack stack;
    uint3 index;
    unsigned number;
    State state;
    Site site;  // where it waits
    unsigned lanes;
    void* brought;
    const Meeting* meeting;
    std::vector<Copy> open;                // copies begun since the last commit
    std::deque<std::vector<Copy>> groups;  // committed, in flight
};

struct Warp {
    unsigned alive, waiting;  // a bit for each lane
};

struct Emulator {
    Launch launch;
    Range static_shared;
    void (*body)(void*);
    void* closure;
    Range dynamic_shared;
    char* shared_end;  // the forbidden page behind it
    std::vector<Fibre> fibres;
    std::vector<Warp> warps;
    std::vector<unsigned> turns;  // the order in which fibres run
    unsigned threads, alive;
    Fibre* current;  // null while no thread runs
    Context scheduler;
    uint32_t random;
    char message[600];
};
extern __attribute__((visibility("hidden"))) Emulator emulator;

inline Fibre& me() { return *emulator.current; }
inline Warp& my_warp() { return emulator.warps[me().number / 32]; }
inline bool failed() { return emulator.message[0]; }
inline void yield_to_scheduler() { switch_context(me().context, emulator.scheduler); }

// A number below `bound`, from the sequence that the launch's seed begins.
unsigned random_below(unsigned bound);

// Say what is wrong, and where; the first message counts.
void note(const char* format, ...) __attribute__((format(printf, 1, 2)));
// The same, and leave this thread for good.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
const char* file_name(const char* path);

// While there is one of these, a fault of a kernel is told like every other mistake.
class FaultHandler {
  public:
    FaultHandler();
    ~FaultHandler();
};

// See isolation.cpp.
class Isolation {
  public:
    Isolation(const Range* written, unsigned count);
    void end_block();
    void end_launch();

  private:
    struct Memory {
        Range now;
        std::vector<char> before, after;
    };
    void take_over(Memory&, size_t begin, size_t end);
    std::vector<Memory> memories_;
};

// The lanes named by `lanes` meet; when the last has come, the meeting is held and all go on. It is an error if lanes
// that wait for each other came from different places.
void meet(unsigned lanes, Site, void* brought, const Meeting&);

// A meeting to which each lane brings a T.
template <class T, void (*complete)(T* const*)>
constexpr Meeting meeting(const char* name, bool whole_warp) {
    return {name, whole_warp, [](void* const brought[32]) { complete((T* const*)brought); }};
}

}  // namespace cuemu
