#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "ops/ptx_hopper.cuh"

// wgmma.mma_async: products by the four warps of a warpgroup, sum [64, N] += a [64, 16] · b [16, N]
// of 16-bit T in f32, see "Asynchronous Warpgroup Level Matrix Multiply-Accumulate" in the PTX ISA.
// Thread t of the group holds of sum, with w = t / 32 and l = t % 32: element 4j + e is row
// 16w + l / 4 + 8 · (e / 2), column 8j + 2 · (l % 4) + e % 2. Code for sm_90a alone.
namespace stagegate::cuda::wgmma {

// Operands of the next products are in registers and shared memory; before the first one.
__device__ inline void fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
// The products since the last call become one group.
__device__ inline void commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
// All but the kPending newest groups are done.
template <int kPending>
__device__ inline void wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving a register of a running product across this point.
__device__ inline void hold(float& value) { asm volatile("" : "+f"(value)::"memory"); }

// "Matrix Descriptor Format": a tile in shared memory, 1024-byte aligned, in rows of 128 bytes that
// are swizzled as CU_TENSOR_MAP_SWIZZLE_128B writes them. group_bytes: from 8 rows to the next 8,
// 1024 where rows follow each other. leading_bytes: for a tile whose rows are not the depth of the
// product, from 64 of its columns to the next 64.
__device__ inline std::uint64_t describe(const void* tile, unsigned group_bytes = 1024,
                                         unsigned leading_bytes = 16) {
  constexpr std::uint64_t kSwizzle128Bytes = 1;
  const auto field = [](std::uint64_t bytes) { return (bytes & 0x3ffff) >> 4; };
  return field(ptx::shared_address(tile)) | field(leading_bytes) << 16 | field(group_bytes) << 32 |
         kSwizzle128Bytes << 62;
}

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
// All up to a number of eights.
#define SG_NAMES_TO_2 SG_NAMES_0 ", " SG_NAMES_1
#define SG_SUMS_TO_2 SG_SUMS(0), SG_SUMS(1)
#define SG_NAMES_TO_4 SG_NAMES_TO_2 ", " SG_NAMES_2 ", " SG_NAMES_3
#define SG_SUMS_TO_4 SG_SUMS_TO_2, SG_SUMS(2), SG_SUMS(3)
#define SG_NAMES_TO_8 SG_NAMES_TO_4 ", " SG_NAMES_4 ", " SG_NAMES_5 ", " SG_NAMES_6 ", " SG_NAMES_7
#define SG_SUMS_TO_8 SG_SUMS_TO_4, SG_SUMS(4), SG_SUMS(5), SG_SUMS(6), SG_SUMS(7)
#define SG_NAMES_TO_9 SG_NAMES_TO_8 ", " SG_NAMES_8
#define SG_SUMS_TO_9 SG_SUMS_TO_8, SG_SUMS(8)
#define SG_NAMES_TO_10 SG_NAMES_TO_9 ", " SG_NAMES_9
#define SG_SUMS_TO_10 SG_SUMS_TO_9, SG_SUMS(9)
#define SG_NAMES_TO_12 SG_NAMES_TO_10 ", " SG_NAMES_10 ", " SG_NAMES_11
#define SG_SUMS_TO_12 SG_SUMS_TO_10, SG_SUMS(10), SG_SUMS(11)

// One instruction. operands, adds_name, flags: as it names a and b, `adds`, and which of them are
// transposed. Behind these come a and b themselves.
#define SG_MULTIPLY(type, columns, eights, operands, adds_name, flags, ...)          \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " adds_name                         \
               ", 0;\n"                                                              \
               "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type \
               " {" SG_NAMES_TO_##eights "}, " operands ", p, 1, 1, " flags ";\n}\n" \
               : SG_SUMS_TO_##eights                                                 \
               : __VA_ARGS__, "r"(static_cast<int>(adds)), "n"(kTransposedB ? 1 : 0))
#define SG_MULTIPLY_OF_TYPE(...)                     \
  if constexpr (std::is_same_v<T, __half>) {         \
    SG_MULTIPLY("f16", __VA_ARGS__);                 \
  } else {                                           \
    static_assert(std::is_same_v<T, __nv_bfloat16>); \
    SG_MULTIPLY("bf16", __VA_ARGS__);                \
  }
// The products with so many columns, of which a thread has so many eights of sums. n0 to n6: the
// names that follow those of the sums.
//   multiply(sum, a, b, adds)  both operands in shared memory: a with the depth contiguous, b with
//                              the depth contiguous or, where it is transposed, its columns.
//                              adds: false starts sum at zero
//   the same                   a in registers, as the threads of a warp hold a fragment of
//                              mma.m16n8k16
#define SG_PRODUCTS(columns, eights, n0, n1, n2, n3, n4, n5, n6)                              \
  template <typename T, bool kTransposedB = false>                                            \
  __device__ inline void multiply(float (&sum)[8 * eights], std::uint64_t a, std::uint64_t b, \
                                  bool adds) {                                                \
    SG_MULTIPLY_OF_TYPE(columns, eights, n0 ", " n1, n2, "0, " n3, "l"(a), "l"(b));           \
  }                                                                                           \
  template <typename T, bool kTransposedB = false>                                            \
  __device__ inline void multiply(float (&sum)[8 * eights], const std::uint32_t (&a)[4],      \
                                  std::uint64_t b, bool adds) {                               \
    SG_MULTIPLY_OF_TYPE(columns, eights, "{" n0 ", " n1 ", " n2 ", " n3 "}, " n4, n5, n6,     \
                        "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                  \
  }

SG_PRODUCTS(32, 2, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
SG_PRODUCTS(64, 4, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
SG_PRODUCTS(128, 8, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
SG_PRODUCTS(144, 9, "%72", "%73", "%74", "%75", "%76", "%77", "%78")
SG_PRODUCTS(160, 10, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
SG_PRODUCTS(192, 12, "%96", "%97", "%98", "%99", "%100", "%101", "%102")

#undef SG_PRODUCTS
#undef SG_MULTIPLY_OF_TYPE
#undef SG_MULTIPLY
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
#undef SG_NAMES_TO_2
#undef SG_SUMS_TO_2
#undef SG_NAMES_TO_4
#undef SG_SUMS_TO_4
#undef SG_NAMES_TO_8
#undef SG_SUMS_TO_8
#undef SG_NAMES_TO_9
#undef SG_SUMS_TO_9
#undef SG_NAMES_TO_10
#undef SG_SUMS_TO_10
#undef SG_NAMES_TO_12
#undef SG_SUMS_TO_12

}  // namespace stagegate::cuda::wgmma
