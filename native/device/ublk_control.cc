#include "device/ublk_control.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include "error.h"
#include "system/io_uring.h"

namespace obd {
namespace {

constexpr unsigned kGetFeatures = 0x13, kDeleteAsync = 0x14;
constexpr uint16_t kNoQueue = 0xffff;
// How long the kernel may take to see that a server is dead: its process has to be taken down first.
constexpr auto kRecoveryPause = std::chrono::milliseconds(10);
constexpr int kRecoveryRounds = 3000;

// The kernel knows a command by its number and the direction its data goes.
constexpr uint32_t reads(unsigned number) { return static_cast<uint32_t>(_IOR('u', number, ublksrv_ctrl_cmd)); }
constexpr uint32_t changes(unsigned number) { return static_cast<uint32_t>(_IOWR('u', number, ublksrv_ctrl_cmd)); }

// Returns 0 or a negative errno.
int control(uint32_t operation, const ublksrv_ctrl_cmd& command) {
  const UniqueFd device(::open("/dev/ublk-control", O_RDWR | O_CLOEXEC));
  if (!device) throw_errno("open /dev/ublk-control (is the ublk_drv module loaded?)");
  IoUring ring(1, IORING_SETUP_SQE128);
  io_uring_sqe& entry = ring.next();
  entry.opcode = IORING_OP_URING_CMD;
  entry.fd = device.get();
  entry.cmd_op = operation;
  std::memcpy(reinterpret_cast<char*>(&entry) + offsetof(io_uring_sqe, cmd), &command, sizeof command);
  int result = 0;
  bool done = false;
  while (!done) {
    ring.submit(1);
    ring.for_each_completion([&](uint64_t, int outcome) {
      result = outcome;
      done = true;
    });
  }
  return result;
}

ublksrv_ctrl_cmd command_for(uint32_t id) {
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = kNoQueue;
  return command;
}

ublksrv_ctrl_cmd command_with(uint32_t id, void* data, size_t size) {
  ublksrv_ctrl_cmd command = command_for(id);
  command.addr = reinterpret_cast<uint64_t>(data);
  command.len = static_cast<uint16_t>(size);
  return command;
}

ublksrv_ctrl_cmd command_with_pid(uint32_t id) {
  ublksrv_ctrl_cmd command = command_for(id);
  command.data[0] = static_cast<uint64_t>(::getpid());
  return command;
}

void check(int result, const char* what, uint32_t id) {
  if (result < 0) throw_errno(std::string(what) + " ublk device " + std::to_string(id), -result);
}

// The same for what is taken down: a command that could not even be given has failed like one that was refused, and
// the error names the device.
int try_control(uint32_t operation, uint32_t id) {
  try {
    return control(operation, command_for(id));
  } catch (const std::system_error& e) {
    return -e.code().value();
  }
}

}  // namespace

void check_ublk_features() {
  uint64_t features = 0;
  const int result = control(reads(kGetFeatures), command_with(0, &features, sizeof features));
  if (result < 0) throw_errno("ask for the features of ublk", -result);
  if ((features & kUblkFeatures) != kUblkFeatures) throw_errno("ublk of this kernel lacks user copy or recovery", EOPNOTSUPP);
}

void ublk_add(ublksrv_ctrl_dev_info& info) {
  info.dev_id = UINT32_MAX;
  const int result = control(changes(UBLK_CMD_ADD_DEV), command_with(info.dev_id, &info, sizeof info));
  if (result < 0) throw_errno("add a ublk device", -result);
}

void ublk_set_params(uint32_t id, ublk_params& params) {
  params.len = sizeof params;
  check(control(changes(UBLK_CMD_SET_PARAMS), command_with(id, &params, sizeof params)), "set the parameters of", id);
}

void ublk_start(uint32_t id) { check(control(changes(UBLK_CMD_START_DEV), command_with_pid(id)), "start", id); }

void ublk_stop(uint32_t id) {
  const int result = try_control(changes(UBLK_CMD_STOP_DEV), id);
  if (result != -ENODEV) check(result, "stop", id);
}

void ublk_delete(uint32_t id) {
  int result = try_control(reads(kDeleteAsync), id);
  if (result == -EOPNOTSUPP) result = try_control(changes(UBLK_CMD_DEL_DEV), id);  // before 6.9
  if (result != -ENODEV) check(result, "delete", id);
}

void ublk_start_recovery(uint32_t id) {
  for (int round = 0;; ++round) {
    const int result = control(changes(UBLK_CMD_START_USER_RECOVERY), command_for(id));
    if (result != -EBUSY || round == kRecoveryRounds) return check(result, "take over", id);
    std::this_thread::sleep_for(kRecoveryPause);
  }
}

void ublk_end_recovery(uint32_t id) { check(control(changes(UBLK_CMD_END_USER_RECOVERY), command_with_pid(id)), "resume", id); }

std::vector<ublksrv_ctrl_dev_info> ublk_list() {
  std::vector<ublksrv_ctrl_dev_info> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/sys/class/ublk-char"), ::closedir);
  if (!dir) return found;  // the module is not loaded
  while (const dirent* entry = ::readdir(dir.get())) {
    unsigned id = 0;
    if (std::sscanf(entry->d_name, "ublkc%u", &id) != 1) continue;
    ublksrv_ctrl_dev_info info{};
    const int result = control(reads(UBLK_CMD_GET_DEV_INFO), command_with(id, &info, sizeof info));
    if (result == 0) found.push_back(info);  // else it went meanwhile
  }
  return found;
}

}  // namespace obd
