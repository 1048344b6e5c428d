#include "files/tar_pipeline.h"

#include <exception>

#include "files/decompress.h"
#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr size_t kInLimit = 8 << 20;   // bytes given but not yet decompressed
constexpr size_t kTarLimit = 8 << 20;  // bytes decompressed but not yet unpacked

// Counts and hashes what passes; with `wanted` false, when it is looked at, it only counts.
class HashedSource : public ByteSource {
 public:
  HashedSource(ByteSource& source, const bool& wanted) : source_(source), wanted_(wanted) {}
  std::string_view next() override {
    std::string_view chunk = source_.next();
    if (wanted_) hash_.update(chunk);
    size_ += chunk.size();
    return chunk;
  }
  Digest digest() { return hash_.finish(); }
  uint64_t size() const { return size_; }

 private:
  ByteSource& source_;
  const bool& wanted_;
  Sha256 hash_;
  uint64_t size_ = 0;
};

}  // namespace

TarPipeline::TarPipeline(const std::string& root, const UnpackOptions& options, std::shared_ptr<Task> task)
    : root_(root), options_(options), task_(std::move(task)), in_(kInLimit), tar_(kTarLimit) {
  decompressing_ = std::thread([this] { run_decompress(); });
  try {
    unpacking_ = std::thread([this] { run_unpack(); });
  } catch (...) {
    cancel();
    throw;
  }
}

void TarPipeline::cancel() {
  in_.close(std::make_exception_ptr(FsError("context canceled", ECANCELED)));
  join();
}

void TarPipeline::join() {
  std::lock_guard<std::mutex> lock(joining_);
  if (decompressing_.joinable()) decompressing_.join();
  if (unpacking_.joinable()) unpacking_.join();
}

void TarPipeline::run_decompress() {
  try {
    const bool always = true;
    HashedSource source(in_, always);
    Decompressor decompressor(source);
    compressed_ = decompressor.compressed();
    decompressor.run([this](std::string_view bytes) { tar_.push(bytes); });
    result_.digest = source.digest();
    result_.size = source.size();
    tar_.close();
  } catch (...) {
    tar_.close(std::current_exception());
    in_.give_up(std::current_exception());
  }
}

// What is damaged behind the tar's end is no fault of a user's archive, as BuildKit does not look there.
void TarPipeline::drain(TarReader& reader) const {
  try {
    reader.drain();
  } catch (const FsError& failure) {
    if (options_.mode == UnpackMode::layer || failure.err() != EBADMSG) throw;
  }
}

void TarPipeline::run_unpack() {
  try {
    HashedSource source(tar_, compressed_);
    TarReader reader(source);
    Unpacker unpacker(root_, options_, *task_);
    unpacker.run(reader);
    drain(reader);
    result_.diff_id = compressed_ ? source.digest() : result_.digest;
    result_.entries = unpacker.entries();
  } catch (...) {
    failure_ = std::current_exception();
    tar_.give_up(failure_);
  }
}

UnpackResult TarPipeline::finish() {
  in_.close();
  join();
  if (failure_) std::rethrow_exception(failure_);
  return result_;
}

UnpackResult unpack_file(int fd, const std::string& name, const std::string& root, const UnpackOptions& options,
                         std::shared_ptr<Task> task) {
  TarPipeline pipeline(root, options, std::move(task));
  FileSource file(fd, name);
  for (std::string_view chunk = file.next(); !chunk.empty(); chunk = file.next()) {
    if (!pipeline.write(chunk)) pipeline.wait_room();
  }
  return pipeline.finish();
}

bool is_archive(int fd) {
  struct Enough {};
  std::string head;
  try {
    FileSource file(fd, "");
    // A pax header may come first: look at enough for the header proper.
    Decompressor(file).run([&](std::string_view bytes) {
      head += bytes;
      if (head.size() >= (4 << 20)) throw Enough{};
    });
  } catch (const Enough&) {
  } catch (const std::exception&) {
    if (head.empty()) return false;  // damaged from the start; else what came before tells
  }
  struct Text : ByteSource {
    std::string_view rest;
    std::string_view next() override { return std::exchange(rest, {}); }
  } text;
  text.rest = head;
  try {
    TarEntry entry;
    return TarReader(text).next(entry);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace obd::files
