// How the mappings of a layer hide those of the layers below.
#pragma once
#include <cstdint>
#include <vector>

#include "lsmt/segment.h"

namespace obd {

// Lays `upper` over `lower`: both, and the result, are sorted by offset and do not overlap. The source numbers of
// `upper` are raised by `upper_source`.
std::vector<Segment> overlay(const std::vector<Segment>& upper, uint64_t upper_source, const std::vector<Segment>& lower);

}  // namespace obd
