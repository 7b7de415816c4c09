#include "ops/attention/kernels/flashinfer/kernel.cuh"

namespace stagegate::cuda {

template void run_flashinfer<__nv_bfloat16, 128>(const FlashInferCall& call, const PagedKeys& keys,
                                                 const FlashInferPlan& plan);

}  // namespace stagegate::cuda
