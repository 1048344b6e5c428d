// The node of a block device in /dev, and who else uses it.
#pragma once
#include <optional>
#include <string>

#include "system/unique_fd.h"

namespace obd {

// "/dev/<name>"; the node is made when /dev is not kept by the kernel (in a container). Throws
// std::system_error when there is no such device.
std::string block_node(const std::string& name);
// The same for a character device; `device_class` is its directory in /sys/class.
std::string char_node(const std::string& device_class, const std::string& name);

// Takes a block device for oneself, so that it cannot be mounted any more. Nullopt while it is mounted, part
// of another device, or open in any process. Throws std::system_error.
std::optional<UniqueFd> claim_block_device(const std::string& path);

}  // namespace obd
