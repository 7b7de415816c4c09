#pragma once

#include <bit>
#include <cstdint>

#include "core/dtype.h"

namespace stagegate {

// 16-bit floats are storage formats here: arithmetic always happens in f32.

struct bfloat16 {
  std::uint16_t bits;

  static bfloat16 from_float(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {  // NaN: keep it quiet, rounding could turn it into Inf
      return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
    }
    return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
  }
  float to_float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

struct float16 {
  std::uint16_t bits;

  static float16 from_float(float value) {
    return {std::bit_cast<std::uint16_t>(static_cast<_Float16>(value))};
  }
  float to_float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
};

inline float load_as_float(float value) { return value; }
inline float load_as_float(bfloat16 value) { return value.to_float(); }
inline float load_as_float(float16 value) { return value.to_float(); }

inline void store_from_float(float& slot, float value) { slot = value; }
inline void store_from_float(bfloat16& slot, float value) { slot = bfloat16::from_float(value); }
inline void store_from_float(float16& slot, float value) { slot = float16::from_float(value); }

template <typename T>
struct dtype_of;
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct dtype_of<float16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct dtype_of<bfloat16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct dtype_of<std::int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct dtype_of<std::uint8_t> {
  static constexpr DType value = DType::kU8;
};

}  // namespace stagegate
