# oneDNN is optional: without it the OpenMP matrix product serves every shape.
# The pip wheel onednn-devel-cpu-gomp installs under the prefix of the environment.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sys; print(sys.prefix)"
  OUTPUT_VARIABLE STAGEGATE_PYTHON_PREFIX OUTPUT_STRIP_TRAILING_WHITESPACE)
find_package(dnnl CONFIG QUIET HINTS ${STAGEGATE_PYTHON_PREFIX})
if(dnnl_FOUND)
  message(STATUS "oneDNN ${dnnl_VERSION}: ${dnnl_DIR}")
  target_link_libraries(stagegate PRIVATE DNNL::dnnl)
  target_compile_definitions(stagegate PRIVATE STAGEGATE_HAS_ONEDNN)
  get_target_property(STAGEGATE_ONEDNN_LIBRARY DNNL::dnnl LOCATION)
  get_filename_component(STAGEGATE_ONEDNN_LIBDIR ${STAGEGATE_ONEDNN_LIBRARY} DIRECTORY)
  set_property(TARGET stagegate APPEND PROPERTY INSTALL_RPATH ${STAGEGATE_ONEDNN_LIBDIR})
else()
  message(STATUS "oneDNN not found: linear runs on the OpenMP kernel alone "
    "(pip install onednn-devel-cpu-gomp)")
endif()
