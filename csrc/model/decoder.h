#pragma once

#include <vector>

#include "device/context.h"
#include "kv/cache.h"
#include "model/step.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/rope/rope.h"

namespace stagegate {

// The layer loop: five block operators a layer, then the logits.
class Decoder {
 public:
  // max_positions bounds the positions a step may carry. Throws ArgumentError when it is more than
  // the model was trained for, or when a weight was not loaded.
  Decoder(DecoderWeights weights, std::int64_t max_positions);

  // Runs one step: writes its keys and values to the cache and returns f32 logits [R, vocab], a
  // view into the workspace that the next step overwrites.
  Tensor forward(const Context& context, const StepTensors& step, const KvCache& kv,
                 const Workspace& workspace) const;

  const DecoderWeights& weights() const { return weights_; }
  const DecoderConfig& config() const { return weights_.config(); }

 private:
  DecoderWeights weights_;
  // By layer: those of attention_input without its norm, for where the block before has normed.
  std::vector<AttentionInputWeights> normed_before_;
  RopeTable rope_;
  float eps_;
  float attention_scale_;
};

}  // namespace stagegate
