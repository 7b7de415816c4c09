#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/attention/kernels/flashinfer/plan.h"

namespace stagegate::cuda {

// The operands of one call. Strides from row to row, in elements.
struct FlashInferCall {
  void* q;
  void* k;
  void* v;
  void* out;  // dense
  std::int64_t q_stride, kv_stride;
  FlashInferShape shape;
  float scale;
  cudaStream_t stream;
};

// Queues FlashInfer's kernel for the plan and, where keys are cut, the one that merges. The current
// device is that of the stream.
template <typename T, int kDim>
void run_flashinfer(const FlashInferCall& call, const PagedKeys& keys, const FlashInferPlan& plan);

extern template void run_flashinfer<__half, 64>(const FlashInferCall& call, const PagedKeys& keys,
                                                const FlashInferPlan& plan);
extern template void run_flashinfer<__half, 128>(const FlashInferCall& call, const PagedKeys& keys,
                                                 const FlashInferPlan& plan);
extern template void run_flashinfer<__nv_bfloat16, 64>(const FlashInferCall& call,
                                                       const PagedKeys& keys,
                                                       const FlashInferPlan& plan);
extern template void run_flashinfer<__nv_bfloat16, 128>(const FlashInferCall& call,
                                                        const PagedKeys& keys,
                                                        const FlashInferPlan& plan);

}  // namespace stagegate::cuda
