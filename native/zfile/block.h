// One compressed block of a ZFile (FORMATS.md 1.2): its checksum, and what it holds.
#pragma once
#include <cstddef>
#include <cstdint>

#include "zfile/jump_table.h"
#include "zfile/zfile_format.h"

namespace obd {

// Bytes a block holds: the block size, or what is left for the last one.
size_t plain_length(const ZFileHeader& header, uint64_t block);

// What is wrong with a block's stored bytes, or null.
const char* check_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored);
// The same, or null after its plain_length() bytes were decompressed into `dst`.
const char* decode_block(const ZFileHeader& header, const JumpTable& table, uint64_t block, const char* stored, char* dst);

}  // namespace obd
