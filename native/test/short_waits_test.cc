// A queue that is asked again and again within short times looks for the next request instead of sleeping.
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <thread>

#include "device/short_waits.h"

using namespace obd;
using namespace std::chrono_literals;

namespace {

// A processor for those who look and one for the others.
bool can_look() {
  if (std::thread::hardware_concurrency() > 1) return true;
  MESSAGE("SKIPPED: looking takes a second processor");
  return false;
}

// Whether a wait looks that comes after one of `length`. Tries again, since a thread may be kept from running.
bool looks_after(std::chrono::microseconds length, bool after_single) {
  for (int i = 0; i < 200; ++i) {
    ShortWaits waits;
    waits.wait(after_single, [] { return true; }, [&] {
      if (length > 0us) std::this_thread::sleep_for(length);
      return true;
    });
    bool slept = false;
    if (waits.wait(after_single, [] { return true; }, [&] { return slept = true; }) && !slept) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("after a wait that was short the next one looks, after a long one it sleeps at once") {
  if (!can_look()) return;
  for (const bool after_single : std::array{false, true}) {
    CHECK(looks_after(0us, after_single));
    CHECK_FALSE(looks_after(1ms, after_single));
  }
}

TEST_CASE("between single requests a wait may be longer") {
  if (!can_look()) return;
  CHECK(looks_after(250us, true));
  CHECK_FALSE(looks_after(250us, false));
}

TEST_CASE("who has looked in vain sleeps, and does not look again until a wait was short") {
  if (!can_look()) return;
  ShortWaits waits;
  const auto nothing = [] { return false; };
  bool looked = false;
  for (int i = 0; i < 1000 && !looked; ++i) looked = waits.wait(false, [] { return true; }, nothing);
  REQUIRE(looked);
  bool slept = false;
  waits.wait(false, nothing, [&] {
    std::this_thread::sleep_for(1ms);
    return slept = true;
  });
  CHECK(slept);
  unsigned looks = 0;
  waits.wait(false, [&] { return ++looks > 0; }, nothing);
  CHECK(looks == 0);
}
