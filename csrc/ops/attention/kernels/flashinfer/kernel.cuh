#pragma once

#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/variants.cuh>

#include "device/cuda/check.h"
#include "ops/attention/kernels/flashinfer/dispatch.h"
#include "ops/attention/kernels/keys.cuh"

// All that meets FlashInfer's headers. A .cu file for each dtype and head_dim takes it, so that
// they compile side by side.
namespace stagegate::cuda {

template <typename T, int kDim, int kTileRows>
cudaError_t run_tile(const FlashInferCall& call, const PagedKeys& keys,
                     const FlashInferPlan& plan) {
  using Params = flashinfer::BatchPrefillPagedParams<T, T, T, std::int32_t>;
  using Variant = flashinfer::DefaultAttention</*use_custom_mask=*/false,
                                               /*use_sliding_window=*/false,
                                               /*use_logits_soft_cap=*/false, /*use_alibi=*/false>;
  // From page to page, from slot to slot, from head to head.
  const std::int64_t strides[] = {call.kv_stride * keys.block_size, call.kv_stride, kDim};
  const flashinfer::paged_kv_t<T, std::int32_t> cache(
      static_cast<std::uint32_t>(call.shape.kv_heads), static_cast<std::uint32_t>(keys.block_size),
      kDim, static_cast<std::uint32_t>(keys.sequences), flashinfer::QKVLayout::kNHD,
      static_cast<T*>(call.k), static_cast<T*>(call.v), strides, plan.page_indices,
      plan.page_indptr, plan.last_page_len);
  Params params(static_cast<T*>(call.q), cache, /*maybe_custom_mask=*/nullptr,
                const_cast<std::int32_t*>(keys.first_query), /*maybe_mask_indptr=*/nullptr,
                /*maybe_q_rope_offset=*/nullptr, static_cast<T*>(call.out), /*lse=*/nullptr,
                /*maybe_alibi_slopes=*/nullptr, static_cast<std::uint32_t>(call.shape.heads),
                static_cast<std::int32_t>(call.q_stride), /*q_stride_h=*/kDim, /*window_left=*/-1,
                /*logits_soft_cap=*/0.0f, call.scale, /*rope_scale=*/1.0f, /*rope_theta=*/1.0f);
  params.request_indices = plan.request_indices;
  params.qo_tile_indices = plan.qo_tile_indices;
  params.kv_tile_indices = plan.kv_tile_indices;
  params.merge_indptr = plan.merge_indptr;
  params.o_indptr = plan.o_indptr;
  params.block_valid_mask = plan.block_valid_mask;
  params.kv_chunk_size_ptr = plan.kv_chunk_size;
  params.max_total_num_rows = static_cast<std::uint32_t>(keys.queries);
  params.padded_batch_size = static_cast<std::uint32_t>(plan.blocks);
  return flashinfer::BatchPrefillWithPagedKVCacheDispatched<
      /*SAME_KV_STRIDES=*/true, kTileRows, kDim, kDim, flashinfer::PosEncodingMode::kNone,
      /*USE_FP16_QK_REDUCTION=*/false, flashinfer::MaskMode::kCausal, Variant, Params>(
      params, static_cast<T*>(plan.partial_out), plan.partial_lse, /*enable_pdl=*/false,
      call.stream);
}

template <typename T, int kDim>
void run_flashinfer(const FlashInferCall& call, const PagedKeys& keys, const FlashInferPlan& plan) {
  if (plan.tile_rows == 16) {
    SG_CUDA((run_tile<T, kDim, 16>(call, keys, plan)));
  } else if (plan.tile_rows == 64) {
    SG_CUDA((run_tile<T, kDim, 64>(call, keys, plan)));
  } else {
    SG_CUDA((run_tile<T, kDim, 128>(call, keys, plan)));
  }
}

}  // namespace stagegate::cuda
