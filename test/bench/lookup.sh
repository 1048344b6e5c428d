#!/bin/sh
# Builds and runs the bench of index look-ups.
set -eu
cd "$(dirname "$0")/../.."
make -s -C native
out=native/build/release/lookup-bench
g++ -std=c++17 -O2 -Inative -Wall -Wextra -Werror -o "$out" test/bench/lookup.cc native/build/release/lsmt/frozen_index.o native/build/release/lsmt/packed_segments.o
exec "$out"
