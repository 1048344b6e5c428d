// A child process whose output is handed over chunk by chunk: what starts runc. Made for a parent with a
// large address space: vfork shares it instead of copying its page tables, which costs fork 1 ms (and as
// much again in later page faults) for every 25 MB of resident memory.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "files/fd.h"

namespace obd::runtime {

// How a process ended: `signal` is 0 unless a signal ended it, `code` is then -1.
struct ExitStatus {
  int code = -1;
  int signal = 0;
};

// What a child reads: nothing, what the parent writes into a pipe, or a terminal of its own, which is its
// stdout and stderr too.
enum class Input { none, pipe, terminal };

class Child {
 public:
  // A child that was not waited for is killed.
  ~Child();
  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)),
        pidfd_(std::move(other.pidfd_)),
        input_(std::move(other.input_)),
        stdout_(std::move(other.stdout_)),
        stderr_(std::move(other.stderr_)) {}
  Child& operator=(Child&&) = delete;

  // Starts argv[0] (looked up in the PATH of `env`) in a session of its own, with default signal handling
  // and no inherited descriptor but its standard ones. It gets SIGKILL when the calling thread ends, so call
  // this from a thread that lives as long as the program. Throws std::system_error.
  static Child spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env, Input input = Input::none);

  pid_t pid() const { return pid_; }

  // The end of the pipe or terminal that the parent writes to; none without input. The caller closes it.
  int release_input() { return input_.release(); }

  // Reports all output (stream 1 or 2) until the process has ended and its pipes are empty, then reaps it.
  // What the process left running in the background and still holds a pipe is not waited for. Call once.
  ExitStatus wait(const std::function<void(int stream, const uint8_t* data, size_t size)>& on_output);

 private:
  Child() = default;
  pid_t pid_ = -1;
  files::Fd pidfd_;
  files::Fd input_;
  files::Fd stdout_;
  files::Fd stderr_;
};

}  // namespace obd::runtime
