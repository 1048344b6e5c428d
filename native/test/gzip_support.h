// Gzip files with indexes, and turboOCI archives, made here for tests.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace obd::test {

// `plain` as a gzip file.
std::string gzip_of(const std::string& plain, int level = 6);
// The index of a gzip file with an entry every `span` plain bytes where deflate blocks allow it, as the
// reference makes it; `compressed`: windows and table are zlib streams.
std::string gzip_index_of(const std::string& gzip, size_t span, bool compressed = true);
// A plain tar of these files.
std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files);
// Sets the checksum of a gzip index's header right again.
void fix_index_checksum(std::string& index);

}  // namespace obd::test
