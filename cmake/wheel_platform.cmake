# A cross build must not put one processor's code into a wheel under another's name: what an
# extension and a wheel are called is the build machine's Python's to say, unless it is told.
#
# pyedge_check_platform(TARGET): stop where the extension's suffix or the wheel's tag are not of the
# processor that is compiled for.
function(pyedge_check_platform target)
  if(NOT CMAKE_CROSSCOMPILING)
    return()
  endif()
  set(names "${CMAKE_SYSTEM_PROCESSOR}")
  if(names MATCHES "^(aarch64|arm64)$")
    set(names "aarch64|arm64") # Android's tag is android_24_arm64_v8a, its suffix has aarch64
  endif()
  set(mend "For aarch64 Linux set SETUPTOOLS_EXT_SUFFIX=.cpython-3XX-aarch64-linux-gnu.so and \
_PYTHON_HOST_PLATFORM=linux-aarch64, as `make wheel-aarch64` does.")
  get_target_property(suffix ${target} SUFFIX)
  if(NOT suffix MATCHES "[-_.](${names})[-_.]")
    message(FATAL_ERROR "pyedge: a cross build for ${CMAKE_SYSTEM_PROCESSOR}, but the extension \
would be called _core${suffix}. ${mend}")
  endif()
  if(SKBUILD) # the wheel's tag is what Python takes for its platform
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_platform())"
      OUTPUT_VARIABLE platform OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT platform MATCHES "[-_.](${names})([-_.]|$)")
      message(FATAL_ERROR "pyedge: a cross build for ${CMAKE_SYSTEM_PROCESSOR}, but the wheel \
would be tagged ${platform}. ${mend}")
    endif()
  endif()
endfunction()
