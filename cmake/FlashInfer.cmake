# FlashInfer's attention beside our own, from the headers of its wheel: none of its bindings, no
# PyTorch, nothing compiled at run time. Included by Cuda.cmake.
set(STAGEGATE_FLASHINFER_VERSION 0.7.2.post1)  # as in pyproject.toml: its interface moves
find_path(STAGEGATE_FLASHINFER_SITE_PACKAGES
  flashinfer_python-${STAGEGATE_FLASHINFER_VERSION}.dist-info/METADATA
  HINTS ${STAGEGATE_SITE_PACKAGES}
  DOC "The folder that flashinfer-python ${STAGEGATE_FLASHINFER_VERSION} is installed in")
if(NOT STAGEGATE_FLASHINFER_SITE_PACKAGES)
  message(FATAL_ERROR "STAGEGATE_FLASHINFER is on and the headers of FlashInfer are nowhere: "
    "pip install --no-deps flashinfer-python==${STAGEGATE_FLASHINFER_VERSION}, or name the folder it "
    "is in by -DSTAGEGATE_FLASHINFER_SITE_PACKAGES")
endif()
set(STAGEGATE_FLASHINFER_DATA ${STAGEGATE_FLASHINFER_SITE_PACKAGES}/flashinfer/data)

# What includes its headers is compiled apart: with the CUDA core libraries that come with it before
# those of the compiler, and without our warnings.
file(GLOB STAGEGATE_FLASHINFER_KERNELS CONFIGURE_DEPENDS
  csrc/ops/attention/kernels/flashinfer/kernel_*.cu)
add_library(stagegate_flashinfer OBJECT ${STAGEGATE_FLASHINFER_KERNELS})
target_include_directories(stagegate_flashinfer PRIVATE csrc
  ${STAGEGATE_FLASHINFER_DATA}/cccl/cub
  ${STAGEGATE_FLASHINFER_DATA}/cccl/libcudacxx/include
  ${STAGEGATE_FLASHINFER_DATA}/cccl/thrust
  ${STAGEGATE_FLASHINFER_DATA}/include)
target_compile_definitions(stagegate_flashinfer PRIVATE
  STAGEGATE_CUDA FLASHINFER_ENABLE_F16 FLASHINFER_ENABLE_BF16)
target_compile_options(stagegate_flashinfer PRIVATE --expt-relaxed-constexpr)
set_target_properties(stagegate_flashinfer PROPERTIES
  CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}"
  CUDA_STANDARD 20
  CUDA_STANDARD_REQUIRED ON
  CUDA_EXTENSIONS OFF)
target_link_libraries(stagegate PRIVATE stagegate_flashinfer)
target_compile_definitions(stagegate PUBLIC
  STAGEGATE_FLASHINFER_VERSION="${STAGEGATE_FLASHINFER_VERSION}")
