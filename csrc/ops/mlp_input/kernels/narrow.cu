#include "ops/linear/kernels/normed_product.cuh"
#include "ops/mlp_input/forms.h"

namespace stagegate::cuda {

namespace {

struct MlpInputOperands {
  void* activated;   // [rows, width]
  const void* bias;  // [2 · width], or null
  int width;
  int step;  // units of a tile
  Fault* fault;
};

// SwiGLU: the first half of a tile is the gate, the second up. Both are rounded to T first, as
// separate operators round them.
template <typename T, int kColumns>
class SwigluEpilogue {
 public:
  using Operands = MlpInputOperands;

  __device__ SwigluEpilogue(const Operands& operands, int rows) : to_(operands), rows_(rows) {}

  __device__ void begin() {}

  __device__ void prepare(int tile) {
    const int unit = unit_of(tile);
    const auto* bias = static_cast<const T*>(to_.bias);
    const bool has_bias = bias != nullptr && unit >= 0;
    gate_bias_ = has_bias ? to_float(bias[unit]) : 0.0f;
    up_bias_ = has_bias ? to_float(bias[to_.width + unit]) : 0.0f;
  }

  __device__ void finish(int tile, const narrow::TileSums<kColumns>& sums) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int unit = unit_of(tile);
    if (unit < 0) return;
#pragma unroll
    for (int i = 0; i < kColumns / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int row = i * 8 + 2 * (lane % 4) + j;
        if (row >= rows_) continue;
        const float gate = to_float(from_float<T>(sums[i][j] + gate_bias_));
        const float up = to_float(from_float<T>(sums[i][j + 2] + up_bias_));
        static_cast<T*>(to_.activated)[static_cast<std::int64_t>(row) * to_.width + unit] =
            from_float<T>(gate / (1.0f + expf(-gate)) * up);
      }
    }
  }

 private:
  // -1 where there is none.
  __device__ int unit_of(int tile) const {
    const int of_tile = static_cast<int>(threadIdx.x) % kWarp / 4;
    const int unit = tile * to_.step + of_tile;
    return of_tile < to_.step && unit < to_.width ? unit : -1;
  }

  const Operands& to_;
  int rows_;
  float gate_bias_ = 0.0f;
  float up_bias_ = 0.0f;
};

}  // namespace

void mlp_input_narrow(const Context& context, const MlpInputCall& call) {
  dispatch_device("mlp_input", call.residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      const narrow::NormedRows input{.x = call.residual.raw_data(),
                                     .indices = nullptr,
                                     .x_rows = call.residual.dim(0),
                                     .norm = call.norm.raw_data(),
                                     .eps = call.eps,
                                     .count = static_cast<int>(call.residual.dim(0)),
                                     .depth = static_cast<int>(call.residual.dim(1))};
      const auto width = static_cast<int>(call.activated.dim(1));
      const int step = narrow::half_rows(1, width, context.stream->num_multiprocessors());
      const MlpInputOperands operands{
          .activated = call.activated.raw_data(),
          .bias = call.gate_up.bias.defined() ? call.gate_up.bias.raw_data() : nullptr,
          .width = width,
          .step = step,
          .fault = context.stream->fault()};
      narrow::launch_normed_product<T, SwigluEpilogue>(
          context, input, narrow::halved_tiles(call.gate_up.data, call.gate_up.data.dim(0), step),
          operands);
    }
  });
}

}  // namespace stagegate::cuda
