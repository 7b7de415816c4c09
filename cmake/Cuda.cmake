# The CUDA backend. nvcc is looked for where CMake does, in the usual installation folder, and in the
# pip wheel nvidia-cuda-nvcc of the Python in use.
if(CMAKE_VERSION VERSION_LESS 3.26)
  message(FATAL_ERROR "CMake ${CMAKE_VERSION} cannot ask nvcc for C++20; pip install 'cmake>=3.26'")
endif()
find_package(Python3 COMPONENTS Interpreter REQUIRED)
execute_process(
  COMMAND ${Python3_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
  OUTPUT_VARIABLE STAGEGATE_SITE_PACKAGES OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  file(GLOB STAGEGATE_NVCC_WHEELS ${STAGEGATE_SITE_PACKAGES}/nvidia/*/bin)
  find_program(CMAKE_CUDA_COMPILER nvcc
    HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS ${STAGEGATE_NVCC_WHEELS} /usr/local/cuda/bin
    PATH_SUFFIXES bin)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "STAGEGATE_CUDA is on and nvcc is nowhere: "
      "install the CUDA toolkit, set CUDACXX, or pip install nvidia-cuda-nvcc")
  endif()
endif()

# The wheels put their libraries into lib, where nvcc does not look by itself, and have no libcudart.so
# for find_package.
get_filename_component(STAGEGATE_CUDA_ROOT "${CMAKE_CUDA_COMPILER}" DIRECTORY)
get_filename_component(STAGEGATE_CUDA_ROOT "${STAGEGATE_CUDA_ROOT}" DIRECTORY)
if(STAGEGATE_CUDA_ROOT MATCHES "/nvidia/cu[0-9]+$")
  string(APPEND CMAKE_CUDA_FLAGS " -L${STAGEGATE_CUDA_ROOT}/lib")
  file(GLOB STAGEGATE_CUDART ${STAGEGATE_CUDA_ROOT}/lib/libcudart.so.*)
  set(CUDA_CUDART ${STAGEGATE_CUDART} CACHE FILEPATH "The CUDA runtime of the wheel")
endif()

# Ampere, Ada, Hopper and Blackwell; -DCMAKE_CUDA_ARCHITECTURES=native builds faster for this machine.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 100-real)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# cuBLASLt from the toolkit, or from the wheel nvidia-cublas beside any compiler.
if(TARGET CUDA::cublasLt AND EXISTS "${CUDAToolkit_INCLUDE_DIRS}/cublasLt.h")
  target_link_libraries(stagegate PRIVATE CUDA::cublasLt)
else()
  find_path(STAGEGATE_CUBLAS_INCLUDE cublasLt.h HINTS ${STAGEGATE_SITE_PACKAGES}/nvidia/cu13/include)
  find_file(STAGEGATE_CUBLASLT libcublasLt.so.13 HINTS ${STAGEGATE_SITE_PACKAGES}/nvidia/cu13/lib)
  if(NOT STAGEGATE_CUBLAS_INCLUDE OR NOT STAGEGATE_CUBLASLT)
    message(FATAL_ERROR "STAGEGATE_CUDA is on and cuBLASLt is nowhere: "
      "install the whole CUDA toolkit, or pip install nvidia-cublas")
  endif()
  target_include_directories(stagegate PRIVATE ${STAGEGATE_CUBLAS_INCLUDE})
  target_link_libraries(stagegate PRIVATE ${STAGEGATE_CUBLASLT})
  get_filename_component(STAGEGATE_CUBLAS_LIBDIR ${STAGEGATE_CUBLASLT} DIRECTORY)
  set_property(TARGET stagegate APPEND PROPERTY INSTALL_RPATH ${STAGEGATE_CUBLAS_LIBDIR})
endif()

# Ranges for profilers, from headers alone: those of the toolkit or of the wheel nvidia-nvtx.
find_path(STAGEGATE_NVTX_INCLUDE nvtx3/nvToolsExt.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} ${STAGEGATE_SITE_PACKAGES}/nvidia/cu13/include)
if(STAGEGATE_NVTX_INCLUDE)
  target_include_directories(stagegate SYSTEM PRIVATE ${STAGEGATE_NVTX_INCLUDE})
  target_compile_definitions(stagegate PUBLIC STAGEGATE_NVTX)
  target_link_libraries(stagegate PRIVATE ${CMAKE_DL_LIBS})
else()
  message(STATUS "No NVTX headers: profilers show kernels without the names of operators and layers "
    "(pip install nvidia-nvtx, or conda install cuda-nvtx-dev)")
endif()

file(GLOB_RECURSE STAGEGATE_CUDA_SOURCES CONFIGURE_DEPENDS
  csrc/*.cu csrc/device/cuda/*.cpp)
list(FILTER STAGEGATE_CUDA_SOURCES EXCLUDE REGEX "/flashinfer/kernel_")
if(NOT STAGEGATE_FLASHINFER)
  list(FILTER STAGEGATE_CUDA_SOURCES EXCLUDE REGEX "/flashinfer/")
endif()
target_sources(stagegate PRIVATE ${STAGEGATE_CUDA_SOURCES})
set_target_properties(stagegate PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 20
  CUDA_STANDARD_REQUIRED ON
  CUDA_EXTENSIONS OFF)
target_compile_definitions(stagegate PUBLIC STAGEGATE_CUDA
  STAGEGATE_CUDA_VERSION="${CUDAToolkit_VERSION}")
target_compile_options(stagegate PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
# The runtime is linked in: a wheel of it has no libcudart.so to link to, and nothing has to be found
# when the engine is loaded.
target_link_libraries(stagegate PRIVATE CUDA::cudart_static)

if(STAGEGATE_FLASHINFER)
  include(cmake/FlashInfer.cmake)
endif()
