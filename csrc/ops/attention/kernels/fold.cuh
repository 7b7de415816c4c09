#pragma once

// In which order the contributions of keys are added where that depends on nothing.
namespace stagegate::cuda {

// Keys whose weights are added up as one partial result. It depends on nothing, so the partial
// results of a query are the same however they are spread over thread blocks.
constexpr int kChunk = 256;

// How a partial result joins those of the chunks before it: theirs are multiplied by `kept`, its
// own by `added`, and `maximum` is the largest score of all. Explicit operations, so that every
// kernel rounds alike.
struct Fold {
  float kept;
  float added;
  float maximum;
};

__device__ inline Fold fold(float running_maximum, float chunk_maximum) {
  if (chunk_maximum == -INFINITY) return {1.0f, 0.0f, running_maximum};
  // A chunk with a NaN says so by its maximum; fmaxf would forget it.
  const float maximum =
      isnan(chunk_maximum) ? chunk_maximum : fmaxf(running_maximum, chunk_maximum);
  return {expf(running_maximum - maximum), expf(chunk_maximum - maximum), maximum};
}

__device__ inline float folded(const Fold& by, float running, float chunk) {
  return __fmaf_rn(running, by.kept, __fmul_rn(chunk, by.added));
}

// The weighted sum over the total of the weights; zero where no key was seen.
__device__ inline float normalized(float sum, float total, float maximum) {
  return maximum == -INFINITY ? 0.0f : __fdiv_rn(sum, total);
}

}  // namespace stagegate::cuda
