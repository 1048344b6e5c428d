// Which system call tables this kernel serves.
#pragma once

namespace obd::runtime {

// Whether the kernel runs the x32 ABI (few do). A seccomp profile needs no rules for a table that the
// kernel does not serve, and they cost runc 6 ms a container to compile.
bool kernel_has_x32();

}  // namespace obd::runtime
