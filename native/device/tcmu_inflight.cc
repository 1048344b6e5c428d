#include "device/tcmu_inflight.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "error.h"
#include "system/unique_fd.h"

namespace obd {
namespace {

constexpr size_t kPage = 4096;
// The kernel gives out the lowest free number: only the first pages of the file are ever touched.
constexpr size_t kIds = 65536;
constexpr size_t kFileSize = kPage + kIds * sizeof(TcmuCommand);

// The order of stores is what the next process relies on.
template <typename T>
void store(T& place, T value) {
  __atomic_store_n(&place, value, __ATOMIC_SEQ_CST);
}

}  // namespace

struct TcmuInflight::Head {
  uint32_t position;
  uint32_t settling;  // 1 + id of the command that is being answered, or 0
  uint32_t tail;      // of the ring before that
  uint32_t ids;       // all that have been in use are below
};

TcmuInflight::TcmuInflight(const std::string& path, bool anew) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (anew ? O_TRUNC : 0), 0600));
  if (!fd) throw_errno("open " + path);
  if (::ftruncate(fd.get(), kFileSize) != 0) throw_errno("resize " + path);
  void* mapped = ::mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) throw_errno("map " + path);
  head_ = static_cast<Head*>(mapped);
  commands_ = reinterpret_cast<TcmuCommand*>(static_cast<char*>(mapped) + kPage);
}

TcmuInflight::~TcmuInflight() { ::munmap(head_, kFileSize); }

uint32_t TcmuInflight::position() const { return __atomic_load_n(&head_->position, __ATOMIC_RELAXED); }

void TcmuInflight::advance(uint32_t position) { store(head_->position, position); }

void TcmuInflight::take(TcmuCommand& command) {
  if (command.id >= head_->ids) store(head_->ids, uint32_t{command.id} + 1);
  store(command.taken, 1u);
}

void TcmuInflight::begin_settling(const TcmuCommand& command, uint32_t tail) {
  store(head_->tail, tail);
  store(head_->settling, uint32_t{command.id} + 1);
}

void TcmuInflight::end_settling(TcmuCommand& command) {
  store(command.taken, 0u);
  store(head_->settling, 0u);
}

void TcmuInflight::recover(uint32_t tail) {
  if (head_->settling == 0) return;
  // The kernel has the answer as soon as the tail has moved, and only then.
  if (tail != head_->tail) store(commands_[head_->settling - 1].taken, 0u);
  store(head_->settling, 0u);
}

std::vector<TcmuCommand*> TcmuInflight::taken() {
  std::vector<TcmuCommand*> found;
  for (size_t id = 0; id < head_->ids && id < kIds; ++id) {
    if (commands_[id].taken != 0) found.push_back(&commands_[id]);
  }
  return found;
}

}  // namespace obd
