#include "model/decoder_config.h"

#include <cmath>
#include <utility>

#include "core/check.h"

namespace stagegate {

void DecoderConfig::check() const {
  const std::pair<const char*, std::int64_t> sizes[] = {
      {"vocab_size", vocab_size},
      {"hidden_size", hidden_size},
      {"intermediate_size", intermediate_size},
      {"num_layers", num_layers},
      {"num_heads", num_heads},
      {"num_kv_heads", num_kv_heads},
      {"head_dim", head_dim},
      {"max_position_embeddings", max_position_embeddings},
  };
  for (const auto& [name, size] : sizes) {
    SG_CHECK(ArgumentError, size > 0, "decoder: ", name, " must be positive, got ", size);
  }
  SG_CHECK(ArgumentError, num_heads % num_kv_heads == 0,
           "decoder: num_heads must be a multiple of num_kv_heads, got ", num_heads, " and ",
           num_kv_heads);
  SG_CHECK(ArgumentError, head_dim % 2 == 0,
           "decoder: head_dim must be even, which rotary positions need, got ", head_dim);
  const std::pair<const char*, double> numbers[] = {{"rms_norm_eps", rms_norm_eps},
                                                    {"rope_theta", rope_theta}};
  for (const auto& [name, number] : numbers) {
    SG_CHECK(ArgumentError, std::isfinite(number) && number > 0, "decoder: ", name,
             " must be a number above 0, got ", number);
  }
  if (rope_scaling) rope_scaling->check();
}

}  // namespace stagegate
