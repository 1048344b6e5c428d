#include "runtime/x32.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace obd::runtime {

bool kernel_has_x32() {
#if defined(__x86_64__) && !defined(__ILP32__)
  constexpr long kX32Bit = 0x40000000;
  constexpr long kX32GetPid = kX32Bit + 39;
  // In a child: a sandbox around obd may answer the foreign call with a signal.
  const pid_t child = vfork();
  if (child == 0) _exit(syscall(kX32GetPid) > 0 ? 1 : 0);
  if (child < 0) return true;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
#else
  return false;
#endif
}

}  // namespace obd::runtime
