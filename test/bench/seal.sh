#!/bin/sh
# Builds and runs the sealing bench: test/bench/seal.sh [MB], 500 by default.
set -eu
cd "$(dirname "$0")/../.."
make -s -C native
out=native/build/release/seal-bench
objects=$(find native/build/release -name '*.o' ! -name 'addon*')
# shellcheck disable=SC2086 # one word per object
g++ -std=c++17 -O2 -pthread -D_FILE_OFFSET_BITS=64 -D_GNU_SOURCE -Inative -Wall -Wextra -Werror -o "$out" test/bench/seal.cc $objects \
	-lext2fs -lcom_err -llz4 -lzstd -larchive -lz -lcrypto -llmdb
exec "$out" "$@"
