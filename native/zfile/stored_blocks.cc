#include "zfile/stored_blocks.h"

#include <algorithm>

#include "zfile/block.h"

namespace obd {

uint64_t StoredBlocks::first_block(uint64_t offset) const {
  uint64_t low = 0, high = table_->blocks();
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (table_->offset(middle) < offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

uint64_t StoredBlocks::align_down(uint64_t offset) const {
  if (!is_inside(offset)) return offset;
  return offset_ + table_->offset(first_block(offset - offset_ + 1) - 1);
}

uint64_t StoredBlocks::align_up(uint64_t offset) const {
  if (!is_inside(offset)) return offset;
  return offset_ + table_->offset(first_block(offset - offset_));
}

template <typename Each>
void StoredBlocks::for_blocks(const void* data, size_t count, uint64_t offset, Each each) const {
  if (offset + count <= offset_) return;
  const uint64_t begin = offset > offset_ ? offset - offset_ : 0;
  const uint64_t end = offset + count - offset_;
  const auto* bytes = static_cast<const char*>(data);
  for (uint64_t block = first_block(begin); block < table_->blocks() && table_->offset(block + 1) <= end; ++block) {
    if (!each(block, bytes + (offset_ + table_->offset(block) - offset))) return;
  }
}

std::string StoredBlocks::check(const void* data, size_t count, uint64_t offset) const {
  std::string problem;
  for_blocks(data, count, offset, [&](uint64_t block, const char* stored) {
    if (const char* wrong = check_block(header_, *table_, block, stored)) problem = "block " + std::to_string(block) + " " + wrong;
    return problem.empty();
  });
  return problem;
}

uint64_t StoredBlocks::blocks_before(uint64_t end) const {
  const uint64_t after = first_block(end + 1);
  if (after == table_->blocks() && table_->offset(after) <= end) return after;
  return after == 0 ? 0 : after - 1;
}

BlobRange StoredBlocks::plain_range(BlobRange stored) const {
  if (stored.end <= offset_) return {0, 0};
  const uint64_t first = first_block(stored.begin > offset_ ? stored.begin - offset_ : 0);
  const uint64_t end = blocks_before(stored.end - offset_);
  if (end <= first) return {0, 0};
  return {first * header_.block_size, std::min(end * header_.block_size, header_.original_size)};
}

BlobRange StoredBlocks::stored_range(BlobRange plain) const {
  const uint64_t first = plain.begin / header_.block_size, last = (plain.end - 1) / header_.block_size;
  return {offset_ + table_->offset(first), offset_ + table_->offset(last + 1)};
}

bool StoredBlocks::decompress(const void* data, size_t count, uint64_t offset, void* plain) const {
  auto* out = static_cast<char*>(plain);
  bool sound = true;
  const BlockDecoder decoder(header_, *table_);
  for_blocks(data, count, offset, [&](uint64_t block, const char* stored) {
    sound = decoder.decode(block, stored, out) == nullptr;
    out += plain_length(header_, block);
    return sound;
  });
  return sound;
}

}  // namespace obd
