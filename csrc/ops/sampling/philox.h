#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define STAGEGATE_HOST_DEVICE __host__ __device__
#else
#define STAGEGATE_HOST_DEVICE
#endif

namespace stagegate {

struct PhiloxBlock {
  std::uint32_t words[4];
};

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; 2011):
// four random words as a pure function of key and counter.
STAGEGATE_HOST_DEVICE inline PhiloxBlock philox(std::uint64_t key, PhiloxBlock counter) {
  auto key0 = static_cast<std::uint32_t>(key);
  auto key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter.words[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter.words[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.words[1] ^ key0,
                static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.words[3] ^ key1,
                static_cast<std::uint32_t>(a)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// The noise of a token is one word of the block that it shares with its neighbours.
constexpr std::uint32_t kTokensPerBlock = 4;

STAGEGATE_HOST_DEVICE inline PhiloxBlock token_noise(std::uint64_t seed, std::uint64_t draw_index,
                                                     std::uint32_t block) {
  return philox(seed, {{block, static_cast<std::uint32_t>(draw_index),
                        static_cast<std::uint32_t>(draw_index >> 32), 0}});
}

// A random word as a number inside (0, 1).
STAGEGATE_HOST_DEVICE inline double uniform(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}

}  // namespace stagegate
