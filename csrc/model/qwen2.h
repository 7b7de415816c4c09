#pragma once

#include "device/context.h"
#include "kv/storage.h"
#include "model/qwen2_weights.h"
#include "model/step.h"
#include "model/workspace.h"
#include "ops/rope/rope.h"

namespace stagegate {

// The layer loop of Qwen2 (Yang et al., 2024): pre-norm attention with biased q, k, v and rotary
// positions, grouped-query heads, and a SwiGLU feed-forward.
class Qwen2Model {
 public:
  // max_positions bounds the positions a step may carry.
  Qwen2Model(Qwen2Weights weights, std::int64_t max_positions);

  // Runs one step: writes its keys and values to the cache and returns f32 logits [R, vocab], a
  // view into the workspace that the next step overwrites.
  Tensor forward(const Context& context, const StepTensors& step, const KvStorage& kv,
                 const Workspace& workspace) const;

  const Qwen2Weights& weights() const { return weights_; }
  const Qwen2Config& config() const { return weights_.config(); }

 private:
  void attend(const Context& context, const StepTensors& step, std::int64_t layer,
              const KvStorage& kv, const Tensor& qkv, const Tensor& out) const;

  Qwen2Weights weights_;
  RopeTable rope_;
  float attention_scale_;
};

}  // namespace stagegate
