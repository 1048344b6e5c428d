// What sealing costs: a writable layer with 500 MB of this machine's own files is committed (lz4, 4 KiB
// blocks, tar) on one thread and on all cores, beside the reference's overlaybd-commit where the PATH has
// one; and what a look-up costs in an index of a million segments. Built and run by test/bench/seal.sh.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lsmt/commit.h"
#include "lsmt/stack.h"
#include "lsmt/writable_layer.h"

namespace fs = std::filesystem;
using namespace obd;

namespace {

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

uint64_t next_random(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

// Contents of files below /usr, one after the other, `limit` bytes at most.
std::string file_data(size_t limit) {
  std::string data;
  data.reserve(limit);
  std::error_code ignored;
  for (const char* root : {"/usr/lib", "/usr/bin", "/usr/share"}) {
    for (fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, ignored), end; it != end && data.size() < limit; it.increment(ignored)) {
      if (!it->is_regular_file(ignored) || it->is_symlink(ignored)) continue;
      std::ifstream in(it->path(), std::ios::binary);
      std::string chunk(65536, '\0');
      while (data.size() < limit && (in.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), in.gcount() > 0)) {
        data.append(chunk, 0, std::min(static_cast<size_t>(in.gcount()), limit - data.size()));
      }
      data.append((4096 - data.size() % 4096) % 4096, '\0');  // files start on blocks
    }
  }
  data.resize(data.size() / 4096 * 4096);
  return data;
}

// Writes `data` in pieces of `piece` bytes, in order, or in random order.
void fill(const std::string& base, const std::string& data, size_t piece, bool shuffled) {
  const auto layer = WritableLayer::create(base + ".data", base + ".index", 2ull << 30, "", "");
  std::vector<size_t> order;
  for (size_t at = 0; at < data.size(); at += piece) order.push_back(at);
  uint64_t state = 88172645463325252u;
  for (size_t i = order.size(); shuffled && i > 1; i--) std::swap(order[i - 1], order[next_random(state) % i]);
  for (const size_t at : order) layer->write(data.data() + at, std::min(piece, data.size() - at), at);
  layer->freeze();
}

// Commits in a process of its own, so that CPU time and peak memory are those of the commit.
void run_commit(const char* what, const std::string& base, unsigned threads, bool digest) {
  ::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    // A fresh image: what the parent holds in memory must not count.
    const std::string count = std::to_string(threads);
    ::execl("/proc/self/exe", "seal", "commit", what, base.c_str(), count.c_str(), digest ? "1" : "0", nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

double seconds_of(const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; }

// The same layer committed by the reference implementation (which makes no digest), when it is there.
void run_peer(const std::string& base, double mb) {
  const std::string data = base + ".data", index = base + ".index", out = base + ".out";
  int status = 0;
  rusage use{};
  const double wall = seconds([&] {
    const pid_t child = ::fork();
    if (child == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      if (null >= 0) ::dup2(null, 1), ::dup2(null, 2);
      ::execlp("overlaybd-commit", "overlaybd-commit", "-z", "-t", "-f", data.c_str(), index.c_str(), out.c_str(), nullptr);
      ::_exit(127);
    }
    ::wait4(child, &status, 0, &use);
  });
  if (status != 0) return;
  std::printf("%-28s %2u thread  %s  %5.0f MB/s  %.2f s wall  %.2f s CPU  %4.1f MB peak RSS  %.0f -> %.0f MB\n", "  overlaybd-commit -z -t", 1u,
              "           ", mb / wall, wall, seconds_of(use.ru_utime) + seconds_of(use.ru_stime), static_cast<double>(use.ru_maxrss) / 1024, mb,
              static_cast<double>(fs::file_size(out)) / 1e6);
  fs::remove(out);
}

int commit_main(char** argv) {
  const std::string base = argv[3], out = base + ".out";
  const auto layer = WritableLayer::open_frozen(base + ".data", base + ".index");
  CommitOptions options;
  options.zfile->threads = static_cast<unsigned>(std::atoi(argv[4]));
  options.digest = argv[5][0] == '1';
  CommitResult result;
  const double wall = seconds([&] { result = commit(*layer, options, out); });
  fs::remove(out);
  rusage use;
  ::getrusage(RUSAGE_SELF, &use);
  const double mb = static_cast<double>(result.data_bytes) / 1e6;
  std::printf("%-28s %2u thread%s %s  %5.0f MB/s  %.2f s wall  %.2f s CPU  %4.1f MB peak RSS  %.0f -> %.0f MB\n", argv[2],
              options.zfile->threads, options.zfile->threads == 1 ? " " : "s", options.digest ? "with sha256" : "           ",
              mb / wall, wall, seconds_of(use.ru_utime) + seconds_of(use.ru_stime), static_cast<double>(use.ru_maxrss) / 1024, mb,
              static_cast<double>(result.size) / 1e6);
  return 0;
}

void bench_index(uint64_t n) {
  uint64_t state = 12345;
  MutableIndex index;
  const double insert = seconds([&] {
    for (uint64_t i = 0; i < n; i++) {
      Segment s{};
      s.offset = next_random(state) % (n * 64) * 8;
      s.length = 8;
      s.moffset = 8 + i * 8;
      index.insert(s, true);
    }
  });
  const FrozenIndex frozen(index.segments());
  std::printf("index of %zu segments: %.1f bytes a segment while written, %.1f when frozen; random insert %.0f ns\n", index.size(),
              static_cast<double>(index.memory()) / static_cast<double>(index.size()),
              static_cast<double>(frozen.memory()) / static_cast<double>(frozen.size()), insert * 1e9 / static_cast<double>(n));
  uint64_t found = 0;
  auto look_up = [&](const char* what, const auto& in) {
    const int rounds = 2000000;
    const double t = seconds([&] {
      for (int i = 0; i < rounds; i++) {
        const uint64_t sector = next_random(state) % (n * 64) * 8;
        in.for_each(sector, sector + 256, [&](const Segment& s) { found += s.length; });
      }
    });
    std::printf("look-up of 128 KiB in the %s index: %.0f ns\n", what, t * 1e9 / rounds);
  };
  look_up("written", index);
  look_up("frozen", frozen);
  if (found == 0) std::printf("nothing found\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 6 && std::string(argv[1]) == "commit") return commit_main(argv);
  const size_t size = static_cast<size_t>(argc > 1 ? std::atoi(argv[1]) : 500) * 1000 * 1000;
  std::string dir = (fs::temp_directory_path() / "obd-seal-bench-XXXXXX").string();
  if (::mkdtemp(dir.data()) == nullptr) return 1;
  {
    const std::string data = file_data(size);
    fill(dir + "/ordered", data, 128 << 10, false);
    fill(dir + "/scattered", data, 4096, true);
  }
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (const char* kind : {"ordered", "scattered"}) {
    const std::string base = dir + "/" + kind;
    const char* what = kind[0] == 'o' ? "128 KiB writes in order" : "4 KiB writes in any order";
    run_commit(what, base, 1, false);
    run_commit(what, base, 1, true);
    run_commit(what, base, cores, false);
    run_commit(what, base, cores, true);
    run_peer(base, static_cast<double>(size) / 1e6);
  }
  fs::remove_all(dir);
  bench_index(1000000);
  return 0;
}
