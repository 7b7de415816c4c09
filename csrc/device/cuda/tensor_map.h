#pragma once

#include <cuda.h>

#include <cstdint>
#include <initializer_list>

#include "core/dtype.h"

namespace stagegate::cuda {

// A dimension of a tensor that the copy engine reads box by box.
struct MapDimension {
  std::int64_t size;
  std::int64_t stride;  // in elements; 1 in the first
  std::int64_t box;     // how much of it one copy takes, at most 256
};

// Describes a tensor in device memory to the copy engine, the contiguous dimension first. Its
// address and all strides but the first are multiples of 16 bytes, and a box is at most as wide as
// the swizzle. promotion: what the second cache fetches at least around each piece of a row of a
// box; what is read once and whole is read faster with none. Throws DeviceError when the driver
// refuses it.
CUtensorMap make_tensor_map(const void* data, DType dtype,
                            std::initializer_list<MapDimension> dimensions,
                            CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B,
                            CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B);

}  // namespace stagegate::cuda
