// Copies to shared memory that are in flight while a thread goes on, and the bounds of shared memory.
#include "emulator.h"

namespace cuemu {

void need_shared(const void* p, const char* instruction, Site site) {
    auto* first = (const char*)p;
    Range dynamic = emulator.dynamic_shared;
    auto inside = [&](Range memory) { return first >= memory.begin && first + 16 <= memory.end; };
    const char* what = nullptr;
    if (!inside(dynamic) && !inside(emulator.static_shared)) what = "outside of shared memory";
    else if ((uintptr_t)p % 16) what = "at a shared address that is not a multiple of 16";
    if (what)
        fail("%s in %s:%d %s (offset %td of %u dynamic bytes)", instruction, file_name(site.file), site.line, what,
             first - dynamic.begin, emulator.launch.shared_bytes);
}

static void land(const std::vector<Copy>& group) {
    for (const Copy& copy : group) {
        if (copy.from)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    }
}

void wait_for_copies(unsigned in_flight) {
    auto& groups = me().groups;
    while (groups.size() > in_flight) {
        land(groups.front());
        groups.pop_front();
    }
}

}  // namespace cuemu

using namespace cuemu;

void cp_async16(void* to, const void* from, bool wanted, Site site) {
    need_shared(to, "cp_async16", site);
    if (wanted && (uintptr_t)from % 16)
        fail("cp_async16 in %s:%d from an address that is not a multiple of 16", file_name(site.file), site.line);
    Copy copy{to, wanted ? from : nullptr};
    bool at_once = emulator.launch.order == REVERSE || (emulator.launch.order == RANDOM && random_below(2));
    if (at_once) land({copy});  // and stays in flight: it lands again at the wait, where it must change nothing
    me().open.push_back(copy);
}

void cp_commit() {
    me().groups.push_back(std::move(me().open));
    me().open.clear();
}
