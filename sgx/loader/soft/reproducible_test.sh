#!/bin/sh
# SPDX-License-Identifier: MIT
# reproducible_test.sh CMAKE SOURCE BUILT.elf BUILD_TYPE: the same source in another directory gives
# the same enclave, byte for byte, and so the same MRENCLAVE.
set -eu
cmake=$1
source=$2
built=$3
type=$4
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

copy=$directory/elsewhere
mkdir "$copy"
(cd "$source" && tar -cf - --exclude=./build --exclude=./.git .) | tar -xf - -C "$copy"
if ! { "$cmake" -S "$copy" -B "$copy/build/release" -G Ninja -D CMAKE_BUILD_TYPE="$type" &&
    "$cmake" --build "$copy/build/release" --target sgm_test_enclave; } >"$directory/log" 2>&1; then
    cat "$directory/log"
    exit 1
fi
cmp "$copy/build/release/bin/sgm_test_enclave.elf" "$built"
