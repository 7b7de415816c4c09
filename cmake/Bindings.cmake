# stagegate._C: a thin pybind11 module. libstagegate lies beside it and is found by $ORIGIN.
find_package(Python3 COMPONENTS Interpreter Development.Module REQUIRED)
execute_process(COMMAND ${Python3_EXECUTABLE} -m pybind11 --cmakedir
  OUTPUT_VARIABLE STAGEGATE_PYBIND11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
find_package(pybind11 CONFIG REQUIRED HINTS ${STAGEGATE_PYBIND11_DIR})

file(GLOB STAGEGATE_BINDING_SOURCES CONFIGURE_DEPENDS csrc/bindings/*.cpp)
pybind11_add_module(_C MODULE NO_EXTRAS ${STAGEGATE_BINDING_SOURCES})
target_compile_options(_C PRIVATE -Wall -Wextra -Werror)
target_compile_definitions(_C PRIVATE
  STAGEGATE_VERSION="${PROJECT_VERSION}"
  STAGEGATE_BUILD_TYPE="${CMAKE_BUILD_TYPE}"
  STAGEGATE_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
target_link_libraries(_C PRIVATE stagegate)
set_target_properties(_C PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS _C stagegate LIBRARY DESTINATION stagegate)
