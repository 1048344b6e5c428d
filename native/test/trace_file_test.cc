// Prefetch traces: the reference's are read and written again; damaged ones are refused.
#include "lsmt/trace_file.h"

#include <doctest/doctest.h>

#include "error.h"
#include "layer_support.h"
#include "lsmt/stack.h"
#include "lsmt/trace_recorder.h"

using namespace obd;
using namespace obd::test;

namespace {

bool same(const TraceRecord& a, const TraceRecord& b) { return a.layer == b.layer && a.offset == b.offset && a.count == b.count; }

bool same(const std::vector<TraceRecord>& a, const std::vector<TraceRecord>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return same(x, y); });
}

}  // namespace

TEST_CASE("the reference's trace is read, and written again it says the same") {
  const std::string bytes = read_file(golden("trace/stack3.trace"));
  const auto records = parse_trace(bytes, "trace");
  REQUIRE(records.size() == 21);
  CHECK(same(records[0], {0, 0, 4096}));
  CHECK(same(records[9], {2, 4096, 262144}));
  CHECK(same(records[20], {2, 790528, 131072}));
  const std::string again = write_trace(records);
  CHECK(again.size() == bytes.size());
  CHECK(same(parse_trace(again, "trace"), records));
  CHECK(same(parse_trace(write_trace({}), "trace"), {}));
}

TEST_CASE("what is no trace, or a damaged one, is refused") {
  const std::string bytes = read_file(golden("trace/stack3.trace"));
  CHECK_FALSE(is_trace("/bin/sh\n/etc/passwd\n"));
  CHECK_THROWS_WITH_AS(parse_trace("/bin/sh\n", "t"), doctest::Contains("does not begin"), FormatError);
  CHECK_THROWS_WITH_AS(parse_trace("", "t"), doctest::Contains("does not begin"), FormatError);
  CHECK_THROWS_WITH_AS(parse_trace(bytes.substr(0, 10), "t"), doctest::Contains("does not begin"), FormatError);
  CHECK_THROWS_WITH_AS(parse_trace(bytes.substr(0, 500), "t"), doctest::Contains("cut short"), FormatError);
  for (size_t at = 24; at < bytes.size(); at += 7) {
    std::string damaged = bytes;
    damaged[at] ^= 1;
    CHECK_THROWS_WITH_AS(parse_trace(damaged, "t"), doctest::Contains("checksum"), FormatError);
  }
}

TEST_CASE("reads of a stack are recorded by layer, what opening it takes first") {
  const auto layers = open_layers({golden("layers/base.lz4.tar"), golden("layers/layer2.lz4.tar"), golden("layers/layer3.lz4.tar")});
  const auto recorder = std::make_shared<TraceRecorder>();
  Stack stack(recorder->watch(layers), nullptr);
  const size_t opening = recorder->records().size();
  CHECK(opening == 6);
  disk_sha256(stack);
  const auto records = recorder->records();
  // Every layer's data that nothing above hides, and nothing outside of the layers' files.
  CHECK(records.size() > opening);
  const auto reference = parse_trace(read_file(golden("trace/stack3.trace")), "trace");
  auto bytes_of = [](const std::vector<TraceRecord>& all, uint32_t layer) {
    uint64_t sum = 0;
    for (const TraceRecord& r : all) sum += r.layer == layer && r.count > 4096 ? r.count : 0;
    return sum;
  };
  for (const TraceRecord& r : records) CHECK(r.offset + r.count <= layers[r.layer]->data()->size());
  for (uint32_t layer = 1; layer < 3; layer++) CHECK(bytes_of({records.begin() + opening, records.end()}, layer) >= bytes_of(reference, layer));
}
