#include "ops/linear/kernels/normed_product.cuh"
#include "ops/logits/forms.h"

namespace stagegate::cuda {

namespace {

struct LogitsOperands {
  float* out;        // [rows, width]
  const void* bias;  // [width], or null
  int width;
  Fault* fault;
};

// Writes the sums of a tile, with the bias.
template <typename T, int kColumns>
class LogitsEpilogue {
 public:
  using Operands = LogitsOperands;

  __device__ LogitsEpilogue(const Operands& operands, int rows) : to_(operands), rows_(rows) {}

  __device__ void begin() {}

  __device__ void prepare(int tile) {
    const auto* bias = static_cast<const T*>(to_.bias);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int token = token_of(tile, j);
      bias_[j] = bias != nullptr && token < to_.width ? to_float(bias[token]) : 0.0f;
    }
  }

  __device__ void finish(int tile, const narrow::TileSums<kColumns>& sums) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = i * 8 + 2 * (lane % 4) + j % 2;
        const int token = token_of(tile, j / 2);
        if (row >= rows_ || token >= to_.width) continue;
        to_.out[static_cast<std::int64_t>(row) * to_.width + token] = sums[i][j] + bias_[j / 2];
      }
    }
  }

 private:
  __device__ static int token_of(int tile, int half) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    return tile * narrow::kTileRows + lane / 4 + half * 8;
  }

  const Operands& to_;
  int rows_;
  float bias_[2];
};

}  // namespace

void logits_narrow(const Context& context, const LogitsCall& call) {
  dispatch_device("logits", call.residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const narrow::NormedRows input{.x = call.residual.raw_data(),
                                     .indices = cuda::input<std::int32_t>(call.indices),
                                     .x_rows = call.residual.dim(0),
                                     .norm = call.norm.raw_data(),
                                     .eps = call.eps,
                                     .count = static_cast<int>(call.indices.dim(0)),
                                     .depth = static_cast<int>(call.residual.dim(1))};
      const LogitsOperands operands{
          .out = output<float>(call.out),
          .bias = call.head.bias.defined() ? call.head.bias.raw_data() : nullptr,
          .width = static_cast<int>(call.out.dim(1)),
          .fault = context.stream->fault()};
      narrow::launch_normed_product<T, LogitsEpilogue>(
          context, input, narrow::whole_tiles(call.head.data, narrow::kTileRows), operands);
    }
  });
}

}  // namespace stagegate::cuda
