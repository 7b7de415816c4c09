#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/wgmma.cuh"

// Products of a warpgroup with more columns than those of wgmma.cuh, where the words are explained:
// both operands in shared memory, with the depth contiguous.
namespace stagegate::cuda::wgmma {

// The sums of a thread eight by eight: their names in the instruction, and the variables.
#define SG_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define SG_NAMES_1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define SG_NAMES_2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define SG_NAMES_3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define SG_NAMES_4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define SG_NAMES_5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define SG_NAMES_6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define SG_NAMES_7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define SG_NAMES_8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define SG_NAMES_9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define SG_NAMES_10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define SG_NAMES_11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define SG_SUMS(g)                                                                    \
  "+f"(sum[8 * g]), "+f"(sum[8 * g + 1]), "+f"(sum[8 * g + 2]), "+f"(sum[8 * g + 3]), \
      "+f"(sum[8 * g + 4]), "+f"(sum[8 * g + 5]), "+f"(sum[8 * g + 6]), "+f"(sum[8 * g + 7])
#define SG_NAMES_TO_9                                                                        \
  SG_NAMES_0 ", " SG_NAMES_1 ", " SG_NAMES_2 ", " SG_NAMES_3 ", " SG_NAMES_4 ", " SG_NAMES_5 \
             ", " SG_NAMES_6 ", " SG_NAMES_7 ", " SG_NAMES_8
#define SG_SUMS_TO_9                                                                              \
  SG_SUMS(0), SG_SUMS(1), SG_SUMS(2), SG_SUMS(3), SG_SUMS(4), SG_SUMS(5), SG_SUMS(6), SG_SUMS(7), \
      SG_SUMS(8)
#define SG_NAMES_TO_10 SG_NAMES_TO_9 ", " SG_NAMES_9
#define SG_SUMS_TO_10 SG_SUMS_TO_9, SG_SUMS(9)
#define SG_NAMES_TO_12 SG_NAMES_TO_10 ", " SG_NAMES_10 ", " SG_NAMES_11
#define SG_SUMS_TO_12 SG_SUMS_TO_10, SG_SUMS(10), SG_SUMS(11)

// columns: of the sum. eights: its sums of a thread, divided by eight. name_*: of the operands that
// follow them.
#define SG_WIDE(columns, eights, name_a, name_b, name_adds)                                    \
  template <typename T>                                                                        \
  __device__ inline void multiply(float (&sum)[columns / 2], std::uint64_t a, std::uint64_t b, \
                                  bool adds) {                                                 \
    if constexpr (std::is_same_v<T, __half>) {                                                 \
      SG_MULTIPLY("f16", #columns, eights, name_a, name_b, name_adds);                         \
    } else {                                                                                   \
      static_assert(std::is_same_v<T, __nv_bfloat16>);                                         \
      SG_MULTIPLY("bf16", #columns, eights, name_a, name_b, name_adds);                        \
    }                                                                                          \
  }
#define SG_MULTIPLY(type, columns, eights, name_a, name_b, name_adds)                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " name_adds                              \
               ", 0;\n"                                                                   \
               "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type       \
               " {" SG_NAMES_TO_##eights "}, " name_a ", " name_b ", p, 1, 1, 0, 0;\n}\n" \
               : SG_SUMS_TO_##eights                                                      \
               : "l"(a), "l"(b), "r"(static_cast<int>(adds)))

SG_WIDE(144, 9, "%72", "%73", "%74")
SG_WIDE(160, 10, "%80", "%81", "%82")
SG_WIDE(192, 12, "%96", "%97", "%98")

#undef SG_MULTIPLY
#undef SG_WIDE
#undef SG_SUMS
#undef SG_NAMES_0
#undef SG_NAMES_1
#undef SG_NAMES_2
#undef SG_NAMES_3
#undef SG_NAMES_4
#undef SG_NAMES_5
#undef SG_NAMES_6
#undef SG_NAMES_7
#undef SG_NAMES_8
#undef SG_NAMES_9
#undef SG_NAMES_10
#undef SG_NAMES_11
#undef SG_NAMES_TO_9
#undef SG_SUMS_TO_9
#undef SG_NAMES_TO_10
#undef SG_SUMS_TO_10
#undef SG_NAMES_TO_12
#undef SG_SUMS_TO_12

}  // namespace stagegate::cuda::wgmma
