// What a TCMU server keeps for the one that comes after it is killed, and the labels of devices.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "device/device_label.h"
#include "device/tcmu_inflight.h"

using namespace obd;

namespace {

class TempFile {
 public:
  TempFile() { ::close(::mkstemp(path_)); }
  ~TempFile() { ::unlink(path_); }
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/obd-inflight-XXXXXX";
};

TcmuCommand& take(TcmuInflight& inflight, uint16_t id, uint32_t position) {
  TcmuCommand& command = inflight.place(id);
  command.id = id;
  inflight.take(command);
  inflight.advance(position);
  return command;
}

std::vector<uint16_t> ids(TcmuInflight& inflight) {
  std::vector<uint16_t> found;
  for (const TcmuCommand* command : inflight.taken()) found.push_back(command->id);
  return found;
}

}  // namespace

TEST_CASE("tcmu: commands without an answer are there for the next server") {
  const TempFile file;
  {
    TcmuInflight inflight(file.path(), true);
    CHECK(ids(inflight).empty());
    take(inflight, 3, 64);
    TcmuCommand& answered = take(inflight, 0, 128);
    TcmuCommand& last = take(inflight, 65535, 192);
    last.cdb[0] = 0x88;
    last.part_count = 1;
    last.parts[0] = {4096, 512};
    inflight.settle(answered, 0, [] {});
  }
  TcmuInflight next(file.path(), false);
  next.recover(64);
  CHECK(next.position() == 192);
  CHECK(ids(next) == std::vector<uint16_t>{3, 65535});
  CHECK(next.place(65535).cdb[0] == 0x88);
  CHECK(next.place(65535).parts[0].offset == 4096);

  TcmuInflight anew(file.path(), true);
  CHECK(ids(anew).empty());
  CHECK(anew.position() == 0);
}

TEST_CASE("tcmu: killed while it gave an answer") {
  struct Killed {};
  for (const bool tail_moved : {false, true}) {
    CAPTURE(tail_moved);
    const TempFile file;
    {
      TcmuInflight inflight(file.path(), true);
      TcmuCommand& command = take(inflight, 7, 64);
      take(inflight, 8, 128);
      // What the process would have done next never happens.
      CHECK_THROWS_AS(inflight.settle(command, 0, [] { throw Killed(); }), Killed);
    }
    TcmuInflight next(file.path(), false);
    next.recover(tail_moved ? 64 : 0);
    CHECK(ids(next) == (tail_moved ? std::vector<uint16_t>{8} : std::vector<uint16_t>{7, 8}));
    TcmuInflight after(file.path(), false);
    after.recover(tail_moved ? 64 : 0);
    CHECK(ids(after) == ids(next));
  }
}

TEST_CASE("device labels") {
  const std::string owner = "0123456789abcdef01234567";
  const auto label = DeviceLabel::parse("obd:" + owner + "/42");
  REQUIRE(label);
  CHECK(label->owner == owner);
  CHECK(label->number == 42);
  CHECK(label->text() == "obd:" + owner + "/42");
  CHECK(label->packed() == (0x0123456789ull << 24 | 42));
  CHECK(DeviceLabel::packed_owner(label->packed()) == 0x0123456789ull);
  CHECK(DeviceLabel::parse("obd:" + owner + "/16777215"));
  const std::string bad_labels[] = {"obd:" + owner,         "obd:" + owner + "/",   "obd:" + owner + "/16777216", "obd:" + owner + "/1x",
                                    "obd:" + owner + "x/1", "xbd:" + owner + "/1", "obd:0123456789ABCDEF01234567/1", ""};
  for (const std::string& bad : bad_labels) {
    CAPTURE(bad);
    CHECK_FALSE(DeviceLabel::parse(bad));
  }
}
