// Handing over from one thread to another: two stacks and a few registers.
#include "emulator.h"

#ifdef CUEMU_FAST_SWITCH
// Saves what a function must preserve (System V ABI) on its own stack, and takes the other's from there. The C
// library's swapcontext does the same and two system calls, which take many times as long.
extern "C" void cuemu_switch(void** save, void* load);
asm(R"(
.text
.type cuemu_switch, @function
cuemu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

void cuemu::prepare(Context& context, Stack stack, void (*entry)()) {
    void** top = (void**)(stack.memory + stack.bytes);
    *--top = nullptr;        // where entry would return to; it also puts the stack where the ABI wants it
    *--top = (void*)entry;   // where the first switch returns to
    context.stack_pointer = top - 6;  // the six registers, whatever they are
}

void cuemu::switch_context(Context& from, Context& to) { cuemu_switch(&from.stack_pointer, to.stack_pointer); }
#else
void cuemu::prepare(Context& context, Stack stack, void (*entry)()) {
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = stack.memory;
    context.registers.uc_stack.ss_size = stack.bytes;
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, entry, 0);
}

void cuemu::switch_context(Context& from, Context& to) { swapcontext(&from.registers, &to.registers); }
#endif
