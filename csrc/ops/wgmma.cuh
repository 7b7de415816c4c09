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

// Runs SG_MULTIPLY, which each shape below defines for itself, for the type of the operands.
#define SG_WGMMA_OF_TYPE(T)                          \
  if constexpr (std::is_same_v<T, __half>) {         \
    SG_MULTIPLY("f16");                              \
  } else {                                           \
    static_assert(std::is_same_v<T, __nv_bfloat16>); \
    SG_MULTIPLY("bf16");                             \
  }

// Both operands in shared memory: a with the depth contiguous, b with the depth contiguous or,
// where it is transposed, its columns. adds: false starts sum at zero.
template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[16], std::uint64_t a, std::uint64_t b, bool adds) {
#define SG_MULTIPLY(type)                                                                     \
  asm volatile(                                                                               \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"                                            \
      "wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type                             \
      " {"                                                                                    \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"                  \
      "}, %16, %17, p, 1, 1, 0, %19;\n}\n"                                                    \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),   \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]), \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15])                            \
      : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[32], std::uint64_t a, std::uint64_t b, bool adds) {
#define SG_MULTIPLY(type)                                                                         \
  asm volatile(                                                                                   \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                                \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                 \
      " {"                                                                                        \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "                    \
      "%30, %31"                                                                                  \
      "}, %32, %33, p, 1, 1, 0, %35;\n}\n"                                                        \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),       \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]),     \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), \
        "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), \
        "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31])                                                              \
      : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[64], std::uint64_t a, std::uint64_t b, bool adds) {
#define SG_MULTIPLY(type)                                                                         \
  asm volatile(                                                                                   \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                                \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                \
      " {"                                                                                        \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "                    \
      "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "                    \
      "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "                    \
      "%58, %59, %60, %61, %62, %63"                                                              \
      "}, %64, %65, p, 1, 1, 0, %67;\n}\n"                                                        \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),       \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]),     \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), \
        "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), \
        "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31]), "+f"(sum[32]), "+f"(sum[33]), "+f"(sum[34]), "+f"(sum[35]), \
        "+f"(sum[36]), "+f"(sum[37]), "+f"(sum[38]), "+f"(sum[39]), "+f"(sum[40]), "+f"(sum[41]), \
        "+f"(sum[42]), "+f"(sum[43]), "+f"(sum[44]), "+f"(sum[45]), "+f"(sum[46]), "+f"(sum[47]), \
        "+f"(sum[48]), "+f"(sum[49]), "+f"(sum[50]), "+f"(sum[51]), "+f"(sum[52]), "+f"(sum[53]), \
        "+f"(sum[54]), "+f"(sum[55]), "+f"(sum[56]), "+f"(sum[57]), "+f"(sum[58]), "+f"(sum[59]), \
        "+f"(sum[60]), "+f"(sum[61]), "+f"(sum[62]), "+f"(sum[63])                                \
      : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

// a in registers, as the threads of a warp hold a fragment of mma.m16n8k16.
template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[16], const std::uint32_t (&a)[4], std::uint64_t b,
                                bool adds) {
#define SG_MULTIPLY(type)                                                                     \
  asm volatile(                                                                               \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"                                            \
      "wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type                             \
      " {"                                                                                    \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"                  \
      "}, {%16, %17, %18, %19}, %20, p, 1, 1, %22;\n}\n"                                      \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),   \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]), \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15])                            \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)),      \
        "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[32], const std::uint32_t (&a)[4], std::uint64_t b,
                                bool adds) {
#define SG_MULTIPLY(type)                                                                         \
  asm volatile(                                                                                   \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                                \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                 \
      " {"                                                                                        \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "                    \
      "%30, %31"                                                                                  \
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"                                          \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),       \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]),     \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), \
        "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), \
        "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31])                                                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)),          \
        "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

template <typename T, bool kTransposedB = false>
__device__ inline void multiply(float (&sum)[64], const std::uint32_t (&a)[4], std::uint64_t b,
                                bool adds) {
#define SG_MULTIPLY(type)                                                                         \
  asm volatile(                                                                                   \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"                                                \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                \
      " {"                                                                                        \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                    \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, "                    \
      "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "                    \
      "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, "                    \
      "%58, %59, %60, %61, %62, %63"                                                              \
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"                                          \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]),       \
        "+f"(sum[6]), "+f"(sum[7]), "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]),     \
        "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]), "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), \
        "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]), "+f"(sum[22]), "+f"(sum[23]), \
        "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]), "+f"(sum[29]), \
        "+f"(sum[30]), "+f"(sum[31]), "+f"(sum[32]), "+f"(sum[33]), "+f"(sum[34]), "+f"(sum[35]), \
        "+f"(sum[36]), "+f"(sum[37]), "+f"(sum[38]), "+f"(sum[39]), "+f"(sum[40]), "+f"(sum[41]), \
        "+f"(sum[42]), "+f"(sum[43]), "+f"(sum[44]), "+f"(sum[45]), "+f"(sum[46]), "+f"(sum[47]), \
        "+f"(sum[48]), "+f"(sum[49]), "+f"(sum[50]), "+f"(sum[51]), "+f"(sum[52]), "+f"(sum[53]), \
        "+f"(sum[54]), "+f"(sum[55]), "+f"(sum[56]), "+f"(sum[57]), "+f"(sum[58]), "+f"(sum[59]), \
        "+f"(sum[60]), "+f"(sum[61]), "+f"(sum[62]), "+f"(sum[63])                                \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(adds)),          \
        "n"(kTransposedB ? 1 : 0))
  SG_WGMMA_OF_TYPE(T);
#undef SG_MULTIPLY
}

#undef SG_WGMMA_OF_TYPE

}  // namespace stagegate::cuda::wgmma
