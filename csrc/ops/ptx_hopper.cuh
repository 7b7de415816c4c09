#pragma once

#include <cuda.h>

#include <cstdint>

#include "ops/ptx.cuh"

// Machine instructions that Hopper brought: kernels that overlap, barriers that count bytes, copies
// by the copy engine, and products of a warpgroup. Sections of the PTX ISA as in ptx.cuh. wgmma
// exists in code for sm_90a alone.
namespace stagegate::cuda {

// Whether the code being compiled is for sm_90a. A kernel with instructions of this file has its
// body in `if constexpr (kIsHopper)`, so that it compiles, empty, for every other architecture, and
// is launched where Stream::compute_capability() is 90.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kIsHopper = true;
#else
inline constexpr bool kIsHopper = false;
#endif

}  // namespace stagegate::cuda

namespace stagegate::cuda::ptx {

// griddepcontrol.wait: everything the kernels before this one wrote is there. Returns at once in a
// kernel that was not chained.
__device__ inline void wait_for_previous() { asm volatile("griddepcontrol.wait;\n" ::: "memory"); }
// griddepcontrol.launch_dependents: the next kernel may start once every block of this one has said
// so or ended. It says nothing about what this kernel wrote.
__device__ inline void let_next_start() {
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
}

// Both for kernels of every architecture, which launch_following() chains where they can wait.
__device__ __forceinline__ void follow_previous() {
  if constexpr (kIsHopper) wait_for_previous();
}
__device__ __forceinline__ void follow_previous_and_let_next_start() {
  follow_previous();
  if constexpr (kIsHopper) let_next_start();
}

// mbarrier.init: a barrier in shared memory whose phase ends after so many arrivals and all bytes
// announced. Before other threads or the copy engine use it: fence_barriers(), __syncthreads().
__device__ inline void init_barrier(std::uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ inline void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
// fence.proxy.async: what this thread wrote to shared memory is there for the copy engine and
// wgmma.
__device__ inline void fence_shared_for_async() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
// mbarrier.arrive.expect_tx: an arrival that announces bytes.
__device__ inline void arrive_expecting(std::uint64_t* barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ inline void arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier))
               : "memory");
}
// mbarrier.try_wait.parity: whether the phase of this parity has ended.
__device__ inline bool has_ended(std::uint64_t* barrier, unsigned parity) {
  std::uint32_t ended;
  asm volatile(
      "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}\n"
      : "=r"(ended)
      : "r"(shared_address(barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}
__device__ inline void wait(std::uint64_t* barrier, unsigned parity) {
  while (!has_ended(barrier, parity)) {
  }
}

// cp.async.bulk: contiguous bytes from global to shared memory, addresses and size multiples of 16,
// which the barrier counts.
__device__ inline void copy_bulk(void* to, const void* from, unsigned bytes,
                                 std::uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}
// cp.async.bulk.tensor: a box of a tensor from global to shared memory, which the barrier counts.
// c0 counts elements along the contiguous dimension. What lies outside the tensor is zero.
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::uint64_t* barrier, int c0,
                                int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(shared_address(barrier))
      : "memory");
}
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::uint64_t* barrier, int c0,
                                int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(shared_address(barrier))
      : "memory");
}
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::uint64_t* barrier,
                                std::uint64_t policy, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3, %4}], [%5], %6;\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::uint64_t* barrier,
                                std::uint64_t policy, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3, %4, %5}], [%6], %7;\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
__device__ inline void copy_box(void* to, const CUtensorMap& map, std::uint64_t* barrier, int c0,
                                int c1, int c2, int c3, int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];\n" ::"r"(shared_address(to)),
      "l"(&map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "r"(shared_address(barrier))
      : "memory");
}
// cp.async.bulk.tensor the other way: a box from shared to global memory. What lies outside the
// tensor is not written.
__device__ inline void store_box(const CUtensorMap& map, const void* from, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];\n" ::"l"(
          &map),
      "r"(c0), "r"(c1), "r"(shared_address(from))
      : "memory");
}
// cp.async.bulk.commit_group: the stores since the last call become one group.
__device__ inline void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}
// cp.async.bulk.wait_group: this thread's stores have read shared memory, or are done.
__device__ inline void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;\n" ::: "memory");
}
__device__ inline void wait_stores() { asm volatile("cp.async.bulk.wait_group 0;\n" ::: "memory"); }
// prefetch.tensormap: the map is used soon.
__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(&map) : "memory");
}

// mapa: where a variable in the shared memory of this block lies in block `rank` of its cluster.
template <typename T>
__device__ inline T* of_block(T* variable, int rank) {
  std::uint64_t mapped;
  asm volatile("mapa.u64 %0, %1, %2;\n"
               : "=l"(mapped)
               : "l"(reinterpret_cast<std::uint64_t>(variable)), "r"(rank));
  return reinterpret_cast<T*>(mapped);
}
// cp.async.bulk between blocks of a cluster: contiguous bytes of this block's shared memory to
// where `to` lies in block `rank`, counted by that block's `barrier`. All multiples of 16.
__device__ inline void send_bulk(const void* to, const void* from, unsigned bytes,
                                 const std::uint64_t* barrier, int rank) {
  asm volatile(
      "{\n.reg .b32 d, m;\nmapa.shared::cluster.u32 d, %0, %4;\n"
      "mapa.shared::cluster.u32 m, %3, %4;\n"
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [d], [%1], %2, [m];\n"
      "}\n" ::"r"(shared_address(to)),
      "r"(shared_address(from)), "r"(bytes), "r"(shared_address(barrier)), "r"(rank)
      : "memory");
}
// barrier.cluster: all threads of the cluster have come here, and see what the others wrote. Its
// halves apart: whoever has arrived goes on, and waits for the others later. To say that a block
// has begun there is a first half for which nothing written counts.
__device__ inline void begin_in_cluster() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory");
}
__device__ inline void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory");
}
__device__ inline void wait_for_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory");
}

// setmaxnreg: a warpgroup gives registers back, or takes more.
template <int kCount>
__device__ inline void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
// bar.sync with a number of its own and some threads of a block. Number 0 is __syncthreads().
__device__ inline void sync_threads(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}
// bar.arrive: counts for such a barrier and goes on.
__device__ inline void arrive_threads(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(barrier), "r"(threads) : "memory");
}

}  // namespace stagegate::cuda::ptx
