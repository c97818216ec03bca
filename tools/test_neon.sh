#!/bin/sh
# Build the C++ tests for aarch64 and run them under emulation: answers, never speed.
# Prints one line and succeeds where a tool is missing.
set -eu
cd "$(dirname "$0")/.."

for tool in cmake aarch64-linux-gnu-g++ qemu-aarch64-static; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "skipped: the NEON tests need $tool (Debian: g++-aarch64-linux-gnu, qemu-user-static)"
        exit 0
    fi
done

cmake -S . -B build/neon -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake \
    -DPYEDGE_BUILD_PYTHON=OFF -DPYEDGE_BUILD_TESTS=ON >/dev/null
cmake --build build/neon --parallel 2
ctest --test-dir build/neon --output-on-failure --verbose
