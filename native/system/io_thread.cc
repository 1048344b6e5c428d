#include "system/io_thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace obd {

void set_io_flusher() noexcept { ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); }

void become_io_thread(const std::string& name) noexcept {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
  sigset_t all;
  ::sigfillset(&all);
  ::sigdelset(&all, SIGBUS);  // of this thread's own access
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  set_io_flusher();
}

}  // namespace obd
