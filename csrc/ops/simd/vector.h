#pragma once

// f32 vectors of the widest registers the including file is compiled for, and loads that widen the
// 16-bit formats. Included only by the <op>_isa.cpp files of operators, once per instruction set:
// everything is in an unnamed namespace and nothing of the standard library is instantiated, so no
// function compiled for a wide instruction set can be picked by the linker for another file.

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/scalar.h"

namespace stagegate {
namespace {  // NOLINT: see above

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef std::int32_t VecI32 __attribute__((vector_size(kWidth * 4)));
typedef std::uint32_t VecU32 __attribute__((vector_size(kWidth * 4)));
typedef std::uint16_t VecU16 __attribute__((vector_size(kWidth * 2)));

inline Vec splat(float value) { return Vec{} + value; }

inline Vec load(const float* p) {
  Vec value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}

inline Vec load(const bfloat16* p) {
  VecU16 bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return (Vec)(__builtin_convertvector(bits, VecU32) << 16);
}

inline Vec load(const float16* p) {
#if defined(__AVX512F__)
  // The masked form: GCC 12 warns about the plain one's undefined operand (GCC bug 105593).
  return (Vec)_mm512_maskz_cvtph_ps(0xffff,
                                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  Vec value;
  for (int i = 0; i < kWidth; ++i) value[i] = p[i].to_float();
  return value;
#endif
}

inline void store(float* p, Vec value) { __builtin_memcpy(p, &value, sizeof(value)); }

// The first `count` elements, then zeros.
template <typename T>
inline Vec load_first(const T* p, std::int64_t count) {
  T padded[kWidth] = {};
  for (std::int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load(padded);
}

// Sums of neighbouring lanes: those of a in the lower half of the result, those of b in the upper.
inline Vec add_neighbours(Vec a, Vec b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

template <int kPairs>
inline void fold(Vec* tree) {
  if constexpr (kPairs == 1) {
    tree[0] = add_neighbours(tree[0], tree[1]);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < kPairs; ++i) tree[i] = add_neighbours(tree[2 * i], tree[2 * i + 1]);
    fold<kPairs / 2>(tree);
  }
}

// totals[i] = sum of the lanes of values[i]. A tree folds kWidth vectors at a time, each in the
// same fixed order, so a sum does not depend on its neighbours.
template <int kCount>
inline void reduce_add(const Vec* values, float* totals) {
  constexpr int kValid = kCount < kWidth ? kCount : kWidth;
  Vec tree[kWidth] = {};
#pragma GCC unroll 16
  for (int i = 0; i < kValid; ++i) tree[i] = values[i];
  fold<kWidth / 2>(tree);
  __builtin_memcpy(totals, &tree[0], kValid * sizeof(float));
  if constexpr (kCount > kWidth) reduce_add<kCount - kWidth>(values + kWidth, totals + kWidth);
}

// e^x for x <= 0, relative error below 2e-7: range reduction by ln 2 in two parts and the
// polynomial of Cephes' expf. Below -87 the result is 0.
inline Vec exp_nonpositive(Vec x) {
  const Vec floor_bound = splat(-87.0f);
  const VecI32 underflow = x < floor_bound;
  x = underflow ? floor_bound : x;
  const float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to the nearest integer
  const Vec shifted = x * 1.44269504088896341f + kRound;
  const Vec n = shifted - kRound;
  Vec r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const VecI32 exponent = __builtin_convertvector(n, VecI32) << 23;
  const Vec result = (Vec)((VecI32)p + exponent);
  return underflow ? Vec{} : result;
}

}  // namespace
}  // namespace stagegate
