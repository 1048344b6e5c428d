#include "lsmt/inspect.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>

#include "blob/local_blob.h"
#include "blob/tar_entry.h"
#include "error.h"
#include "gzip/gzip_file.h"
#include "lsmt/lsmt_format.h"
#include "lsmt/parallel.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/turbo_layer.h"
#include "lsmt/writable_layer.h"
#include "zfile/zfile.h"

namespace obd {
namespace {

constexpr uint64_t kPart = 1 << 20;     // plain bytes checked at once
constexpr size_t kMaxBlockProblems = 20;  // named one by one; the rest is counted

LsmtReport describe(const LsmtHeader& header, const FrozenIndex& index) {
  LsmtReport r{};
  r.uuid = header.uuid;
  r.parent_uuid = header.parent_uuid;
  r.user_tag = header.user_tag;
  r.virtual_size = header.virtual_size;
  r.header_flags = header.flags;
  r.segments = index.size();
  index.for_each([&](const Segment& s) {
    (s.zeroed ? r.zeroed_bytes : r.data_bytes) += s.length * kSector;
    r.zeroed += s.zeroed;
  });
  return r;
}

// Runs one step of the inspection; a FormatError becomes a problem and gives false.
bool step(LayerReport& report, const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const FormatError& e) {
    report.problems.push_back(e.what());
    return false;
  }
}

ZFileReport describe_zfile(const ZFile& file, Blob& payload, LayerReport& report) {
  Misses none;
  char block[kZFileHeaderSize];
  bool digest_ok;
  payload.try_read(block, sizeof block, 0, none);
  const ZFileHeader header = decode_zfile_header(block, digest_ok);
  const uint64_t trailer_at = payload.size() - sizeof block;
  payload.try_read(block, sizeof block, trailer_at, none);
  ZFileHeader trailer;
  auto problem = [&](uint64_t at, const std::string& what) {
    report.problems.push_back(FormatError(payload.name(), at, "zfile: " + what).what());
  };
  if (!has_zfile_magic(block)) {
    problem(trailer_at, "no trailer here");
  } else {
    trailer = decode_zfile_header(block, digest_ok);
    if (!digest_ok) problem(trailer_at, "the trailer does not match its checksum");
  }

  const ZFileHeader& h = file.header();
  const JumpTable& table = *file.jump_table();
  ZFileReport r{};
  r.algorithm = h.algorithm == static_cast<uint8_t>(ZFileAlgorithm::zstd) ? "zstd" : "lz4";
  r.block_size = h.block_size;
  r.blocks = h.block_count;
  r.original_size = h.original_size;
  r.stored_size = table.offset(table.blocks()) - table.offset(0);
  r.index_offset = h.index_offset;
  r.header_flags = header.flags;
  r.trailer_flags = trailer.flags;
  r.completed_header = header.has(ZFileHeader::kCompleted);
  r.digests = h.has(ZFileHeader::kDigest);
  r.block_checksums = h.verify != 0;
  if (table.offset(table.blocks()) != h.index_offset) problem(table.offset(table.blocks()), "bytes between the last block and the index");
  return r;
}

// Reads every block, so that every checksum is compared and every block decompressed.
void check_blocks(ZFile& file, unsigned threads, LayerReport& report) {
  std::mutex mutex;
  std::vector<std::pair<uint64_t, std::string>> bad;
  const uint64_t parts = (file.size() + kPart - 1) / kPart;
  for_each_parallel(parts, threads, [&](uint64_t part) {
    thread_local const std::unique_ptr<char[]> buf(new char[kPart]);
    Misses none;
    auto read = [&](uint64_t offset, uint64_t count) {
      try {
        file.try_read(buf.get(), static_cast<size_t>(count), offset, none);
        return std::string();
      } catch (const FormatError& e) {
        return std::string(e.what());
      }
    };
    const uint64_t end = std::min(file.size(), (part + 1) * kPart);
    if (read(part * kPart, end - part * kPart).empty()) return;
    // Something in this part is damaged: find out which blocks.
    const uint64_t block = file.header().block_size;
    for (uint64_t at = part * kPart; at < end; at += block) {
      const std::string what = read(at, std::min(block, end - at));
      if (what.empty()) continue;
      std::lock_guard lock(mutex);
      bad.emplace_back(at, what);
    }
  });
  std::sort(bad.begin(), bad.end());
  for (size_t i = 0; i < bad.size() && i < kMaxBlockProblems; i++) report.problems.push_back(bad[i].second);
  if (bad.size() > kMaxBlockProblems) {
    report.problems.push_back(file.name() + ": zfile: " + std::to_string(bad.size() - kMaxBlockProblems) + " more damaged blocks");
  }
}

void describe_sealed(const SealedLayer& layer, LayerReport& report) {
  LsmtReport lsmt = describe(layer.trailer(), *layer.index());
  lsmt.header_flags = layer.header().flags;
  lsmt.trailer_flags = layer.trailer().flags;
  lsmt.index_offset = layer.trailer().index_offset;
  lsmt.records = layer.records();
  lsmt.padding = layer.padding_records();
  report.lsmt = lsmt;
}

// The ZFile in a payload, if it is one, and the layer.
void inspect_payload(const std::shared_ptr<Blob>& payload, unsigned threads, LayerReport& report,
                     const std::function<std::shared_ptr<SealedLayer>()>& open) {
  Misses none;
  std::shared_ptr<ZFile> zfile;
  if (!step(report, [&] { ZFile::try_open(payload, zfile, none); })) return;
  if (zfile) {
    report.zfile = describe_zfile(*zfile, *payload, report);
    check_blocks(*zfile, threads, report);
  }
  step(report, [&] { describe_sealed(*open(), report); });
}

void inspect_blob(const std::shared_ptr<Blob>& blob, unsigned threads, LayerReport& report) {
  Misses none;
  std::shared_ptr<Blob> payload;
  if (!step(report, [&] { try_unwrap_tar(blob, payload, none); })) return;
  if (payload != blob) {
    report.tar = TarReport{static_cast<const WindowBlob&>(*payload).offset(), payload->size()};
  }
  inspect_payload(payload, threads, report, [&] {
    auto layer = SealedLayer::open(blob);
    report.kind = "sealed";
    return layer;
  });
}

// Reads the ordinary layer whole: its checksum is over everything.
void check_target(Blob& tar) {
  const std::unique_ptr<char[]> buf(new char[kPart]);
  Misses none;
  for (uint64_t at = 0; at < tar.size(); at += kPart) tar.try_read(buf.get(), std::min(kPart, tar.size() - at), at, none);
}

void inspect_turbo(const LayerFiles& files, const std::shared_ptr<Blob>& blob, unsigned threads, LayerReport& report) {
  std::shared_ptr<SealedLayer> layer;
  Misses none;
  const auto target = std::make_shared<LocalBlob>(files.target);
  if (!step(report, [&] { layer = try_open_turbo_layer(blob, "", target, none); })) return;
  report.kind = "turbo";
  inspect_payload(layer->payload(), threads, report, [&] { return layer; });
  TurboReport turbo{};
  turbo.target = files.target;
  turbo.target_size = target->size();
  turbo.plain_size = layer->target()->size();
  if (const auto gzip = std::dynamic_pointer_cast<GzipFile>(layer->target())) {
    turbo.gzip = true;
    turbo.index_entries = gzip->index().entries().size();
  }
  layer->index()->for_each([&](const Segment& s) {
    if (!s.zeroed && s.moffset * kSector >= layer->target_begin()) turbo.target_bytes += s.length * kSector;
  });
  report.turbo = turbo;
  step(report, [&] { check_target(*layer->target()); });
}

void inspect_writable(const LayerFiles& files, LayerReport& report) {
  step(report, [&] {
    const auto layer = WritableLayer::open_frozen(files.path, files.index);
    const bool sparse = layer->header().has(LsmtHeader::kSparse);
    report.kind = sparse ? "sparse" : "writable";
    report.lsmt = describe(layer->header(), *layer->index());
    report.lsmt->records = layer->records();
  });
}

}  // namespace

LayerReport inspect_layer(const LayerFiles& files, unsigned threads) {
  LayerReport report;
  report.kind = "unknown";
  const auto blob = std::make_shared<LocalBlob>(files.path);
  report.size = blob->size();
  if (!files.target.empty()) {
    inspect_turbo(files, blob, threads, report);
  } else if (files.index.empty()) {
    inspect_blob(blob, threads, report);
  } else {
    inspect_writable(files, report);
  }
  return report;
}

}  // namespace obd
