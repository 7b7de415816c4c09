#pragma once

// How the attention kernels on tensor cores keep rows of keys and values in shared memory.
namespace stagegate::cuda {

// Where 16-byte piece `piece` of row `row` begins, in elements of 16 bits: pieces are spread so
// that those of 8 neighbouring rows, which one instruction reads, lie in 32 different banks.
template <int kDim>
__device__ inline int swizzled(int row, int piece) {
  return row * kDim + ((piece ^ (row & 7)) << 3);
}

}  // namespace stagegate::cuda
