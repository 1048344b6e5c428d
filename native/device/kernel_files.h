// Reading and writing the attributes that the kernel shows as files, in sysfs and configfs.
#pragma once
#include <string>
#include <vector>

namespace obd {

// All throw std::system_error that names the path, except where said.

// One write of the whole text.
void write_attribute(const std::string& path, const std::string& text);
// The content without the line end; empty when there is no such file.
std::string read_attribute(const std::string& path);
// False when it exists already.
bool make_directory(const std::string& path);
// False when it is not there.
bool remove_directory(const std::string& path);
// Names in a directory, without "." and ".."; none when there is no such directory.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace obd
