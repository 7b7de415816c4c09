#include "device/cuda/tensor_map.h"

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

#include "core/check.h"
#include "device/cuda/check.h"

namespace stagegate::cuda {

namespace {

// The driver's function, asked of the runtime: nothing has to be linked to the driver.
auto encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  SG_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &found));
  SG_CHECK(DeviceError, found == cudaDriverEntryPointSuccess && function != nullptr,
           "the driver has no cuTensorMapEncodeTiled; it needs CUDA 12 or later");
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

CUtensorMapDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::kF16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    default:
      break;
  }
  SG_CHECK(DTypeError, dtype == DType::kF32, "tensor map: floating dtypes only, got ",
           name_of(dtype));
  return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
}

}  // namespace

CUtensorMap make_tensor_map(const void* data, DType dtype,
                            std::initializer_list<MapDimension> dimensions,
                            CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion) {
  static const auto encode = encode_function();
  constexpr std::size_t kMostDimensions = 5;
  std::array<cuuint64_t, kMostDimensions> sizes{};
  std::array<cuuint64_t, kMostDimensions> strides{};  // in bytes, from the second dimension on
  std::array<cuuint32_t, kMostDimensions> box{};
  std::array<cuuint32_t, kMostDimensions> every{};
  std::size_t rank = 0;
  for (const MapDimension& dimension : dimensions) {
    sizes.at(rank) = static_cast<cuuint64_t>(dimension.size);
    box.at(rank) = static_cast<cuuint32_t>(dimension.box);
    every.at(rank) = 1;
    if (rank > 0) {
      strides.at(rank - 1) = static_cast<cuuint64_t>(dimension.stride) * size_of(dtype);
    }
    ++rank;
  }
  CUtensorMap map{};
  const CUresult result =
      encode(&map, type_of(dtype), static_cast<cuuint32_t>(rank), const_cast<void*>(data),
             sizes.data(), strides.data(), box.data(), every.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzle, promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  SG_CHECK(DeviceError, result == CUDA_SUCCESS, "tensor map: the driver refused it with error ",
           static_cast<int>(result));
  return map;
}

}  // namespace stagegate::cuda
