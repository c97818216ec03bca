# Cross build for aarch64 Linux with glibc 2.28 or newer (manylinux_2_28), by zig's C++ compiler,
# which pip brings: `pip install ziglang`. `make wheel-aarch64` makes a wheel with it.
#
#   cmake -S . -B build/x -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-manylinux.cmake
#
# Debian's cross compiler links against Debian's glibc, which is newer than that; zig has the symbol
# versions of every glibc, and links its own libc++ statically.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

# This file is read again for every small project by which CMake tries the compiler, in a cache of
# its own: what is found here has to be told to them.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PYEDGE_ZIG)
if(NOT PYEDGE_ZIG)
  find_program(_pyedge_python NAMES python3 python)
  foreach(python IN ITEMS "${PYTHON_EXECUTABLE}" "${Python_EXECUTABLE}" "${_pyedge_python}")
    if(python AND NOT PYEDGE_ZIG)
      execute_process(
        COMMAND "${python}" -c "import os, ziglang; print(os.path.dirname(ziglang.__file__))"
        OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      find_program(PYEDGE_ZIG zig PATHS "${folder}" NO_DEFAULT_PATH)
    endif()
  endforeach()
  if(NOT PYEDGE_ZIG)
    message(FATAL_ERROR "pyedge: the cross build needs zig: pip install ziglang, or -DPYEDGE_ZIG=")
  endif()
endif()

set(CMAKE_CXX_COMPILER "${PYEDGE_ZIG}" c++ -target aarch64-linux-gnu.2.28)
# The compiler is zig with a word after it, and so is ar, for which CMake has no variable: its rules.
set(CMAKE_CXX_ARCHIVE_CREATE "\"${PYEDGE_ZIG}\" ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "\"${PYEDGE_ZIG}\" ar q <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "\"${PYEDGE_ZIG}\" ranlib <TARGET>")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
