// Counts what a thread allocates, with the help of the sanitizer's run-time.
#pragma once
#include <doctest/doctest.h>

#include <cstddef>

// GCC has these of the sanitizer's run-time without their header.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, size_t),
                                                         void (*free_hook)(const volatile void*));

namespace obd::test {

inline thread_local size_t allocations = 0;  // of this thread, since somebody has asked for the first time

inline size_t allocations_so_far() {
  static const int hooked = __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, size_t) { ++allocations; }, [](const volatile void*) {});
  REQUIRE(hooked != 0);
  return allocations;
}

}  // namespace obd::test
