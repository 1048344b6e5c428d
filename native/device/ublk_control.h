// The commands of /dev/ublk-control: making, starting, stopping and taking over ublk devices.
#pragma once
#include <linux/ublk_cmd.h>

#include <cstdint>
#include <vector>

// What kernels since 6.4 know and the headers of Debian 12 do not have yet.
#ifndef UBLK_F_CMD_IOCTL_ENCODE
#define UBLK_F_CMD_IOCTL_ENCODE (1UL << 6)
#endif
#ifndef UBLK_F_USER_COPY
#define UBLK_F_USER_COPY (1UL << 7)
#endif

namespace obd {

// What a device of ours needs: data copied by pread and pwrite, and a server that may die and be replaced
// while requests wait.
constexpr uint64_t kUblkFeatures = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_CMD_IOCTL_ENCODE | UBLK_F_USER_COPY;

// All throw std::system_error, and wait for the kernel: never on a thread that serves a device.

// Throws, saying what is missing, when this kernel's ublk lacks what a device of ours needs.
void check_ublk_features();
// Makes a device with a number of the kernel's choice; `info` is completed.
void ublk_add(ublksrv_ctrl_dev_info& info);
void ublk_set_params(uint32_t id, ublk_params& params);
// Shows the block device. Every queue's server must be fetching: the kernel reads the partition table here.
void ublk_start(uint32_t id);
// Takes the block device away, and fails requests that nobody serves. No error when it is not up.
void ublk_stop(uint32_t id);
// Forgets a stopped device; its number becomes free when the last user of either node closes it. No error
// when it is gone.
void ublk_delete(uint32_t id);
// Begins to serve a device whose server has died; waits until the kernel has noticed. Then every queue
// fetches anew, and ublk_end_recovery lets the waiting requests go on.
void ublk_start_recovery(uint32_t id);
void ublk_end_recovery(uint32_t id);
// All devices of this host.
std::vector<ublksrv_ctrl_dev_info> ublk_list();

}  // namespace obd
