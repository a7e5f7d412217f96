# The BLAS that METALORA_BLAS chose: blas_include, blas_libraries. What is not the system's goes along with libmetalora, in
# the same folder, and is found there.
if(METALORA_BLAS STREQUAL "openblas")
  set(blas_include ${METALORA_OPENBLAS_DIR})
  set(blas_libraries ${METALORA_OPENBLAS_DIR}/libopenblas.so.0)
  if(NOT EXISTS ${blas_include}/cblas.h OR NOT EXISTS ${blas_libraries})
    message(FATAL_ERROR "METALORA_BLAS=openblas: no cblas.h and libopenblas.so.0 in METALORA_OPENBLAS_DIR "
      "(\"${METALORA_OPENBLAS_DIR}\"): mvn -Dmetalora.blas=openblas gets them and names their folder")
  endif()
  file(GLOB along ${METALORA_OPENBLAS_DIR}/lib*.so.[0-9]*)  # with its Fortran runtime
  foreach(library IN LISTS along)
    get_filename_component(name ${library} NAME)
    file(CREATE_LINK ${library} ${CMAKE_CURRENT_BINARY_DIR}/${name} SYMBOLIC)
  endforeach()
  install(FILES ${along} DESTINATION ${CMAKE_INSTALL_LIBDIR})
  set_target_properties(metalora PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH $ORIGIN)
elseif(METALORA_BLAS STREQUAL "system")
  find_package(BLAS REQUIRED)
  find_path(METALORA_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas REQUIRED)
  set(blas_include ${METALORA_CBLAS_INCLUDE})
  set(blas_libraries ${BLAS_LIBRARIES})
else()
  message(FATAL_ERROR "METALORA_BLAS: \"${METALORA_BLAS}\" is not one of none, openblas, system")
endif()
