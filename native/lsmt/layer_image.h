// The bytes of a sealed layer before compression, computed on demand: header, the data of a layer in the
// order of the disk, index, trailer. The whole layout is known before any data is read.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lsmt/layer.h"
#include "lsmt/lsmt_format.h"
#include "lsmt/stack.h"
#include "zfile/zfile_writer.h"

namespace obd {

class LayerImage : public ByteSource {
 public:
  // `identity` gives uuids, user tag and virtual size. `below` may be null (CommitOptions::below). The first
  // `kept` bytes of the source's data file, header included, stay where they are, whether in use or not.
  LayerImage(const Layer& source, const LsmtHeader& identity, const Below* below, uint64_t kept = kLsmtHeaderSize);

  uint64_t size() const override { return trailer_offset_ + kLsmtHeaderSize; }
  void read(void* buf, size_t count, uint64_t offset) override;
  uint64_t segments() const { return segments_; }
  uint64_t data_bytes() const { return index_offset_ - kLsmtHeaderSize; }

 private:
  // Sectors of the image that continue in the source, up to the next run.
  struct Run {
    uint64_t image, source;
  };
  void lay_out(const FrozenIndex& index, const Below* below);
  void add_data(const Segment& s);
  void add_record(uint64_t offset, uint64_t length, uint64_t moffset, bool zeroed);
  void finish_index();
  void read_data(char* buf, size_t count, uint64_t offset);

  std::shared_ptr<Blob> data_;
  std::vector<Run> runs_;
  std::vector<Segment> records_;  // while it is laid out; index_ afterwards
  std::string header_, index_, trailer_;
  const uint64_t kept_sectors_;
  uint64_t next_sector_;
  uint64_t index_offset_ = 0, trailer_offset_ = 0, segments_ = 0;
};

}  // namespace obd
