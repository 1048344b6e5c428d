#!/bin/sh
# Builds and runs the sealing bench: test/bench/seal.sh [MB], 500 by default.
set -eu
cd "$(dirname "$0")/../.."
make -s -C native
out=native/build/release/seal-bench
rooms=native/build/release
g++ -std=c++17 -O2 -pthread -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -Inative -Wall -Wextra -Werror -o "$out" test/bench/seal.cc \
	"$rooms"/lsmt/*.o "$rooms"/zfile/*.o "$rooms"/blob/local_blob.o "$rooms"/blob/tar_entry.o "$rooms"/blob/new_file.o "$rooms"/files/sha256.o \
	-llz4 -lzstd -lcrypto
exec "$out" "$@"
