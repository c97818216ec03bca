#!/bin/sh
# Build and run the C++ tests with AddressSanitizer and UBSan, then with ThreadSanitizer, for which
# csrc/tests/test_threads.cpp has several engines in several threads.
# Prints one line for a sanitizer that the compiler does not have, and goes on.
#   tools/sanitize.sh [NAME]     only the tests whose name holds NAME
set -eu
cd "$(dirname "$0")/.."

if ! command -v cmake >/dev/null 2>&1; then
    echo "skipped: the sanitizers need cmake"
    exit 0
fi
mkdir -p build
# libtsan of GCC before 14 cannot place its shadow where addresses are drawn at random from 32 bits.
fixed=""
if command -v setarch >/dev/null 2>&1 && setarch -R true >/dev/null 2>&1; then
    fixed="setarch -R"
fi
# A test forks while threads run, and then uses threads.
export TSAN_OPTIONS="die_after_fork=0:halt_on_error=1:${TSAN_OPTIONS:-}"
export ASAN_OPTIONS="detect_stack_use_after_return=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"

for kind in address,undefined thread; do
    folder="build/sanitize-${kind%%,*}"
    echo 'int main() { return 0; }' >build/sanitize-probe.cpp
    if ! ${CXX:-c++} "-fsanitize=$kind" build/sanitize-probe.cpp -o build/sanitize-probe \
        2>/dev/null || ! $fixed build/sanitize-probe 2>/dev/null; then
        echo "skipped: ${CXX:-c++} has no run-time library for -fsanitize=$kind (or it fails here)"
        continue
    fi
    cmake -S . -B "$folder" -DPYEDGE_BUILD_PYTHON=OFF -DPYEDGE_BUILD_TESTS=ON \
        "-DPYEDGE_SANITIZE=$kind" "-DCMAKE_CXX_FLAGS=-g1 -O1 -fno-sanitize-recover=all" >/dev/null
    cmake --build "$folder" --parallel "${JOBS:-2}"
    $fixed "$folder/csrc/tests/pyedge_tests" "$@"
    echo "sanitized: $kind"
done
rm -f build/sanitize-probe build/sanitize-probe.cpp
