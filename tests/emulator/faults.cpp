// How mistakes are told: those that the emulator sees, and those that the CPU does.
#include "emulator.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace cuemu {
namespace {

// Keep the first message, and say in which block and thread it was.
void record(const char* format, va_list values) {
    char* text = emulator.message;
    if (*text) return;
    const size_t size = sizeof emulator.message;
    int used = snprintf(text, size, "block (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
    if (emulator.current)
        used += snprintf(text + used, size - used, ", thread (%u, %u, %u)", threadIdx.x, threadIdx.y, threadIdx.z);
    used += snprintf(text + used, size - used, ": ");
    vsnprintf(text + used, size - used, format, values);
}

// Arrays and shared memory lie between pages that cannot be touched: a kernel that reaches beyond them ends up here.
void on_fault(int signal, siginfo_t* information, void*) {
    if (!emulator.current) {  // the emulator's own fault: let it kill the process
        std::signal(signal, SIG_DFL);
        return;
    }
    if (signal == SIGFPE) fail("an integer is divided by zero");
    const char* address = (const char*)information->si_addr;
    if (address < (const char*)PAGE) fail("access through a null pointer");
    const char* stack = me().stack.memory;
    if (address >= stack - STACK_MARGIN && address < stack)
        fail("local variables of more than %zu bytes", me().stack.bytes);
    if (address >= emulator.shared_end && address < emulator.shared_end + SHARED_ROOM)
        fail("access %td bytes after the start of %u bytes of dynamic shared memory",
             address - emulator.dynamic_shared.begin, emulator.launch.shared_bytes);
    fail("access outside of every array, at address %p", (const void*)address);
}

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction actions_before[3];
stack_t stack_before;

}  // namespace

void note(const char* format, ...) {
    va_list values;
    va_start(values, format);
    record(format, values);
    va_end(values);
}

void fail(const char* format, ...) {
    va_list values;
    va_start(values, format);
    record(format, values);
    va_end(values);
    me().state = State::done;
    yield_to_scheduler();
    abort();  // a failed thread gets no other turn
}

const char* file_name(const char* path) {
    const char* slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

FaultHandler::FaultHandler() {
    static char stack[64 << 10];  // a kernel's own may be what is full
    stack_t ours = {};
    ours.ss_sp = stack;
    ours.ss_size = sizeof stack;
    sigaltstack(&ours, &stack_before);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    // NODEFER: the handler does not return but switches to the scheduler, which would leave the signal blocked
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &actions_before[i]);
}

FaultHandler::~FaultHandler() {
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &actions_before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
}

}  // namespace cuemu
