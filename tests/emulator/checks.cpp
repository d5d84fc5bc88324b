// What g++'s -fsanitize calls in a kernel when something is wrong, told like every other mistake of a kernel.
//
// These take the place of libubsan, which would print and go on. Source: GCC, libsanitizer/ubsan/ubsan_handlers.h.
#include "emulator.h"

namespace {

struct Data {  // how the data of each check begins
    const char* file;
    unsigned line, column;
};

struct AccessData {
    Data where;
    const void* type;
    unsigned char log_alignment, kind;
};

}  // namespace

extern "C" void __ubsan_handle_type_mismatch_v1(AccessData* data, uintptr_t) {
    const Data& where = data->where;
    cuemu::fail("%s:%u: access at an address that is not a multiple of %u", cuemu::file_name(where.file), where.line,
                1u << data->log_alignment);
}

extern "C" void __ubsan_handle_out_of_bounds(Data* where, intptr_t index) {
    cuemu::fail("%s:%u: index %td is outside of the array", cuemu::file_name(where->file), where->line, index);
}
