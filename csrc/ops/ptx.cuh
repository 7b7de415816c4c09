#pragma once

#include <cstdint>
#include <type_traits>

#include "device/cuda/kernel.cuh"

// The machine instructions that CUDA C++ has no word for, and, with those of Hopper in
// ptx_hopper.cuh, all inline assembly there is. Each
// wrapper names its section of the PTX ISA, docs.nvidia.com/cuda/parallel-thread-execution.
namespace stagegate::cuda::ptx {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// prefetch: what lies there comes to the first cache, and nobody waits.
__device__ inline void prefetch(const void* from) {
  asm volatile("prefetch.global.L1 [%0];\n" ::"l"(from));
}

// cp.async: copies 16 bytes from global to shared memory past the registers and the first cache,
// or writes zeros where there is nothing to copy. to: an address in shared memory, or a pointer.
__device__ inline void copy_async(std::uint32_t to, const void* from, bool present) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(present ? 16 : 0)
               : "memory");
}
__device__ inline void copy_async(void* to, const void* from, bool present) {
  copy_async(shared_address(to), from, present);
}
// createpolicy: data that is read once, and leaves the second cache first.
__device__ inline std::uint64_t evict_first() {
  std::uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;\n" : "=l"(policy));
  return policy;
}
// copy_async with a policy of the second cache.
__device__ inline void copy_async(std::uint32_t to, const void* from, bool present,
                                  std::uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;\n" ::"r"(to),
               "l"(from), "r"(present ? 16 : 0), "l"(policy)
               : "memory");
}
__device__ inline void copy_async(void* to, const void* from, bool present, std::uint64_t policy) {
  copy_async(shared_address(to), from, present, policy);
}
// cp.async.commit_group: the copies since the last call become one group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// cp.async.wait_group: all but the kPending newest groups of this thread are there.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// ldmatrix: four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of
// matrix l / 8 and gets elements 2 · (l % 4) and the next one of row l / 4 of each.
__device__ inline void load_matrices(std::uint32_t (&to)[4], const void* from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(from))
               : "memory");
}
// The same, each matrix transposed on the way.
__device__ inline void load_transposed(std::uint32_t (&to)[4], const void* from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(from))
               : "memory");
}

// movmatrix: transposes an 8 x 8 matrix of 16-bit elements; a lane gives elements 2 · (l % 4) and
// the next one of row l / 4 and gets those of column l / 4.
__device__ inline std::uint32_t transpose(std::uint32_t elements) {
  std::uint32_t transposed;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n"
               : "=r"(transposed)
               : "r"(elements));
  return transposed;
}

// stmatrix: four 8 x 8 matrices as load_matrices() has them, each transposed on the way; lane l
// gives the address of row l % 8 of matrix l / 8 as it is stored. Hopper.
__device__ inline void store_transposed(void* to, const std::uint32_t (&from)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};\n" ::"r"(
                   shared_address(to)),
               "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
               : "memory");
}

// stmatrix: four 8 x 8 matrices as load_matrices() has them, or two. Hopper.
__device__ inline void store_matrices(void* to, const std::uint32_t (&from)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};\n" ::"r"(shared_address(to)),
      "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
      : "memory");
}
__device__ inline void store_matrices(void* to, const std::uint32_t (&from)[2]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1,%2};\n" ::"r"(shared_address(to)),
      "r"(from[0]), "r"(from[1])
      : "memory");
}

// Two neighbours of a fragment in one register.
template <typename T>
__device__ inline std::uint32_t pair(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&both);
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const std::uint32_t*>(&both);
  }
}

// ex2.approx: 2 to the power, off by at most 2^-22 of itself. What would be subnormal is zero.
__device__ inline float exp2(float exponent) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(power) : "f"(exponent));
  return power;
}

// rcp.approx: 1 / value, off by at most one in the last place. Of infinity it is zero.
__device__ inline float reciprocal(float value) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;\n" : "=f"(inverse) : "f"(value));
  return inverse;
}

// mma m16n8k16: sum += a · b with a [16, 16] row-major, b [16, 8] column-major of T, sum [16, 8]
// in f32; which lane holds what is in "Matrix Fragments for mma.m16n8k16".
template <typename T>
__device__ inline void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    static_assert(std::is_same_v<T, __nv_bfloat16>);
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace stagegate::cuda::ptx
