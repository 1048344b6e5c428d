#include "runtime/child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "error.h"

namespace obd::runtime {
namespace {

constexpr size_t kChunk = 64 * 1024;

struct Pipe {
  files::Fd read, write;
};

Pipe make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) throw_errno("pipe2");
  return {files::Fd(fds[0]), files::Fd(fds[1])};
}

// For our end of a pipe: the flag belongs to the end, so the child's still blocks.
void never_block(const files::Fd& fd) {
  if (fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) throw_errno("fcntl O_NONBLOCK");
}

struct Terminal {
  files::Fd master, slave;
};

Terminal open_terminal() {
  files::Fd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master) throw_errno("posix_openpt");
  if (grantpt(master.get()) < 0 || unlockpt(master.get()) < 0) throw_errno("unlockpt");
  char name[64];
  if (const int error = ptsname_r(master.get(), name, sizeof name)) throw_errno("ptsname", error);
  files::Fd slave(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) throw_errno(name);
  return {std::move(master), std::move(slave)};
}

files::Fd duplicate(const files::Fd& fd) {
  const int copy = fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) throw_errno("fcntl F_DUPFD_CLOEXEC");
  return files::Fd(copy);
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> list;
  list.reserve(strings.size() + 1);
  for (const std::string& s : strings) list.push_back(const_cast<char*>(s.c_str()));
  list.push_back(nullptr);
  return list;
}

// The program's path, searched here because nothing but plain system calls may run between vfork and exec.
std::string find_program(const std::string& name, const std::vector<std::string>& env) {
  if (name.find('/') != std::string::npos) return name;
  std::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& entry : env) {
    if (entry.compare(0, 5, "PATH=") == 0) path = std::string_view(entry).substr(5);
  }
  while (!path.empty()) {
    const size_t colon = path.find(':');
    const std::string_view dir = path.substr(0, colon);
    path = colon == std::string_view::npos ? std::string_view() : path.substr(colon + 1);
    if (dir.empty()) continue;
    std::string candidate = std::string(dir) + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  throw_errno(name, ENOENT);
}

// Everything the child needs, laid out before vfork: parent and child share memory until exec.
struct Plan {
  const char* program;
  char* const* argv;
  char* const* env;
  int stdio[3];
  bool is_terminal;
  pid_t parent;
  volatile int error = 0;  // set by the child when it could not exec
};

[[noreturn]] void become(Plan& plan) {
  // A handler that ran here would run in the parent's memory: they are blocked, and reset before unblocking.
  // The kernel is asked itself: libc refuses to touch the two signals it uses, which a parent may have ignored.
  const unsigned long default_action[8] = {};  // struct kernel_sigaction, all zero: SIG_DFL
  for (int sig = 1; sig < NSIG; sig++) syscall(SYS_rt_sigaction, sig, default_action, nullptr, sizeof(unsigned long));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  bool ready = getppid() == plan.parent;  // else the parent died before it could be watched
  // The three are above 2 (spawn sees to that), so that none overwrites another.
  for (int fd = 0; fd < 3 && ready; fd++) ready = dup2(plan.stdio[fd], fd) == fd;
  if (ready && plan.is_terminal) ready = ioctl(0, TIOCSCTTY, 0) == 0;
  if (ready) {
    syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    execve(plan.program, plan.argv, plan.env);
  }
  plan.error = errno != 0 ? errno : ESRCH;
  _exit(127);
}

// Alone in its function, with signals blocked around it: a caller's variables must not live across vfork.
[[gnu::noinline]] pid_t start(Plan& plan) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = vfork();
  if (pid == 0) become(plan);
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw_errno("vfork", fork_error);
  return pid;
}

files::Fd above_stdio(files::Fd fd) { return fd.get() > 2 ? std::move(fd) : duplicate(fd); }

// The ends of a child's standard streams.
struct Streams {
  files::Fd child[3];
  files::Fd input, out, err;
};

Streams terminal_streams() {
  auto [master, slave] = open_terminal();
  never_block(master);
  Streams streams;
  for (files::Fd& end : streams.child) end = duplicate(slave);
  streams.input = duplicate(master);
  streams.out = std::move(master);
  return streams;
}

Streams pipe_streams(bool has_input) {
  Pipe out = make_pipe(), err = make_pipe();
  never_block(out.read);
  never_block(err.read);
  Streams streams;
  if (has_input) {
    Pipe in = make_pipe();
    streams.child[0] = above_stdio(std::move(in.read));
    streams.input = std::move(in.write);
  } else {
    files::Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) throw_errno("open /dev/null");
    streams.child[0] = above_stdio(std::move(null));
  }
  streams.child[1] = above_stdio(std::move(out.write));
  streams.child[2] = above_stdio(std::move(err.write));
  streams.out = std::move(out.read);
  streams.err = std::move(err.read);
  return streams;
}

ExitStatus reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw_errno("waitpid " + std::to_string(pid));
  }
  if (WIFSIGNALED(status)) return {-1, WTERMSIG(status)};
  return {WEXITSTATUS(status), 0};
}

}  // namespace

Child Child::spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env, Input input) {
  if (argv.empty()) throw_errno("spawn", EINVAL);
  const std::string program = find_program(argv[0], env);
  const std::vector<char*> args = pointers(argv), vars = pointers(env);
  const bool is_terminal = input == Input::terminal;
  Streams streams = is_terminal ? terminal_streams() : pipe_streams(input == Input::pipe);

  const auto& ends = streams.child;
  Plan plan{program.c_str(), args.data(), vars.data(), {ends[0].get(), ends[1].get(), ends[2].get()}, is_terminal, getpid()};
  const pid_t pid = start(plan);
  if (plan.error != 0) {
    reap(pid);
    throw_errno(program, plan.error);
  }
  Child child;
  child.pid_ = pid;  // it is killed when anything fails from here on
  child.input_ = std::move(streams.input);
  child.stdout_ = std::move(streams.out);
  child.stderr_ = std::move(streams.err);
  child.pidfd_ = files::Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!child.pidfd_) throw_errno("pidfd_open");
  return child;
}

Child::~Child() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

ExitStatus Child::wait(const std::function<void(int, const uint8_t*, size_t)>& on_output) {
  auto buffer = std::make_unique<std::array<uint8_t, kChunk>>();
  // Reads what is there; closes the pipe at its end. Returns whether there may be more at once.
  auto pump = [&](files::Fd& fd, int stream) {
    const ssize_t n = read(fd.get(), buffer->data(), buffer->size());
    if (n > 0) {
      on_output(stream, buffer->data(), static_cast<size_t>(n));
      return true;
    }
    if (n < 0 && errno == EINTR) return true;
    if (n < 0 && errno == EAGAIN) return false;
    fd.reset();
    return false;
  };
  for (bool ended = false; !ended;) {
    pollfd fds[3] = {{pidfd_.get(), POLLIN, 0}, {stdout_.get(), POLLIN, 0}, {stderr_.get(), POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) {
      if (errno == EINTR) continue;
      throw_errno("poll");
    }
    ended = fds[0].revents != 0;
    // What a process says to stderr comes after what it has said to stdout: its last words are its error.
    if (stdout_ && (fds[1].revents != 0 || fds[2].revents != 0)) pump(stdout_, 1);
    if (fds[2].revents != 0) pump(stderr_, 2);
  }
  while (stdout_ && pump(stdout_, 1)) {
  }
  while (stderr_ && pump(stderr_, 2)) {
  }
  return reap(std::exchange(pid_, -1));
}

}  // namespace obd::runtime
