# Installs the build into an empty prefix and builds and runs the example against what lies there, found once as a
# CMake package and once through pkg-config.
# cmake -DBUILD=<build dir> -DSOURCE=<native/> -DWORK=<scratch dir> -DCC=<C compiler> -DFLAGS=<its flags> -P install_tree.cmake

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}: exit ${result}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

set(prefix ${WORK}/prefix)
file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
if(NOT EXISTS ${prefix}/include/metalora.h)
  message(FATAL_ERROR "metalora.h was not installed")
endif()
file(GLOB_RECURSE installed RELATIVE ${prefix} ${prefix}/*)
list(FILTER installed EXCLUDE REGEX "^include/metalora\\.h$|/libmetalora(_cuda)?\\.so[.0-9]*$|/lib(openblas|gfortran|quadmath)\\.so\\.[0-9]$|/cmake/metalora/|/pkgconfig/metalora\\.pc$")
if(installed)
  message(FATAL_ERROR "installed, but no part of the library: ${installed}")
endif()

# The CMake package. Its path to the library has to survive a move of the prefix.
file(RENAME ${prefix} ${WORK}/moved)
run(${CMAKE_COMMAND} -S ${SOURCE}/examples -B ${WORK}/package -DCMAKE_PREFIX_PATH=${WORK}/moved
    -DCMAKE_C_COMPILER=${CC} -DCMAKE_C_FLAGS=${FLAGS} -DCMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${WORK}/package)
run(${WORK}/package/train_lora_linear)
message("CMake package:\n${output}")

# pkg-config, with a plain compiler call.
find_program(PKG_CONFIG pkg-config)
if(NOT PKG_CONFIG)
  message("pkg-config is not installed here: the .pc file was not tried")
  return()
endif()
file(GLOB_RECURSE pc ${WORK}/moved/*/metalora.pc)
get_filename_component(pc_dir ${pc} DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${pc_dir})
run(${PKG_CONFIG} --cflags --libs metalora)
separate_arguments(pkg_flags UNIX_COMMAND "${output}")
run(${PKG_CONFIG} --variable=libdir metalora)
string(STRIP "${output}" libdir)
separate_arguments(c_flags UNIX_COMMAND "${FLAGS}")
run(${CC} ${c_flags} -std=c11 -O2 ${SOURCE}/examples/train_lora_linear.c -o ${WORK}/by_pkg_config ${pkg_flags} -lm -Wl,-rpath,${libdir})
run(${WORK}/by_pkg_config)
message("pkg-config:\n${output}")
