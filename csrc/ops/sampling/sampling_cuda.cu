#include <algorithm>
#include <bit>

#include "device/cuda/launch.h"
#include "ops/sampling/philox.h"
#include "ops/sampling/sampling.h"
#include "ops/sampling/sampling_row.cuh"
#include "ops/sampling/select.cuh"

// Four kernels for every batch, whatever its rows ask for; a row's blocks leave a kernel at once
// that it does not need.
//   reduce_parts  adjusts the logits, finds the largest of each part, sums the parts' exponentials
//   find_buckets  top-k, top-p, top-N: histograms the order of likelihood and finds the buckets in
//                 which the cuts lie
//   run_race      draws among the tokens before these buckets, lists the tokens in them
//   finish        finds the cuts among the listed tokens, ends the draw, writes the results
// Partial results are integers, extremes, or sums over parts of one size, so that neither the
// neighbours of a row nor the order in which blocks run change any of its bits.
namespace stagegate::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 512;
// Four neighbouring tokens share a block of noise, so one thread takes them.
constexpr int kQuad = kTokensPerBlock;
constexpr int kPart = 2 * kThreads * kQuad;
// More rows are taken in turns, which bounds the scratch memory.
constexpr std::int64_t kRowsAtOnce = 128;
constexpr std::int64_t kBlocksPerMultiprocessor = 8;

constexpr std::uint32_t kInfinityBits = 0x7f800000;
constexpr std::uint32_t kNobody = 0xffffffff;
// The most likely token of a row takes no longer: its p is 1 and -log(u) at most 33 log(2).
constexpr double kLongestRace = 23.0;
// A token below exp(this) has -log(u) / p above kLongestRace whatever its noise: u < 1 - 2^-33.
constexpr float kHopeless = -27.0f;

// The orders that tokens are selected by; the third dimension of the grids.
enum Selection : unsigned { kDraw = 0, kTop = 1 };

struct Winner {
  double time;
  std::uint32_t id;
};

struct RowState {
  std::uint32_t blocks_done;
  std::uint32_t listed;
  // Buckets whose tokens are listed; those before them are in.
  int first_bucket;
  int last_bucket;
  bool cut_count;     // top-k leaves something out
  Word count_before;  // tokens before the first listed bucket
  Word mass_before;   // and their mass
  Word mass;          // of all tokens
};

struct Arguments {
  const float* logits;
  int first_row;  // of this turn
  std::uint32_t vocab;
  std::uint32_t parts;  // of kPart tokens
  bool aligned;         // rows of the logits begin at multiples of 16 bytes
  bool logprobs;
  std::uint32_t num_top;
  int id_bits;
  double mass_scale;
  SamplingParameters in;
  std::int32_t* token_ids;
  float* token_logprobs;
  std::int32_t* top_ids;
  float* top_logprobs;
  Fault* fault;
  // Scratch; B is the number of rows of a turn.
  std::uint32_t race_blocks;
  std::int64_t pitch;     // of adjusted
  float* adjusted;        // [B, pitch]
  Word* best;             // [B, parts], of the adjusted logits
  float* part_highest;    // [B, parts], of the given logits
  double* part_sum;       // [B, parts], of exp(logit - part_highest)
  RowState* states;       // [2, B]
  std::uint32_t* counts;  // [2, B, kBuckets]
  Word* masses;           // [B, kBuckets]
  std::uint32_t* listed;  // [2, B, V]
  Winner* winners;        // [B, race_blocks]
  Word* chosen;           // [B, num_top]
};

// The row a block works on: `local` within the turn.
struct BlockRow {
  int local;
  std::int64_t index;
  const float* given;
};

__device__ BlockRow block_row(const Arguments& a, unsigned local) {
  const std::int64_t index = a.first_row + static_cast<std::int64_t>(local);
  return {static_cast<int>(local), index, a.logits + index * a.vocab};
}

// What a row asks for, read by one thread for its block.
__device__ const SamplingRow& shared_row(const Arguments& a, std::int64_t index) {
  __shared__ SamplingRow row;
  if (threadIdx.x == 0) row = row_of(a.in, index);
  __syncthreads();
  return row;
}

// Four tokens from `first` on; -inf past the end.
__device__ void load_quad(const float* row, std::uint32_t first, std::uint32_t vocab, bool aligned,
                          float (&values)[kQuad]) {
  if (aligned && first + kQuad <= vocab) {
    const float4 pack = *reinterpret_cast<const float4*>(row + first);
    values[0] = pack.x;
    values[1] = pack.y;
    values[2] = pack.z;
    values[3] = pack.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < kQuad; ++i) {
    values[i] = first + i < vocab ? row[first + i] : -INFINITY;
  }
}

__device__ bool allowed(const Arguments& a, const SamplingRow& row, std::uint32_t id) {
  const std::int64_t words = (a.vocab + 31) / 32;
  const auto word = static_cast<std::uint32_t>(a.in.mask_bits[row.mask * words + id / 32]);
  return (word >> id % 32 & 1) != 0;
}

// Adds the bias to the part that begins at `begin`, by one warp. A token named twice gets both
// values in the order of the list.
__device__ void add_bias(const Arguments& a, const SamplingRow& row, std::int64_t r,
                         std::uint32_t begin, float* part) {
  const unsigned lane = threadIdx.x;
  for (int base = row.bias_begin; base < row.bias_end; base += kWarp) {
    const int i = base + static_cast<int>(lane);
    bool mine = i < row.bias_end;
    const std::int32_t id = mine ? a.in.bias_ids[i] : -1;
    const float value = mine ? a.in.bias_values[i] : 0.0f;
    if (mine && !(isfinite(value) || value == -INFINITY)) {
      if (begin == 0) report(a.fault, FaultKind::kBiasValue, r, 0, 0, value);
      mine = false;
    } else if (mine && (id < 0 || static_cast<std::uint32_t>(id) >= a.vocab)) {
      if (begin == 0) report(a.fault, FaultKind::kBiasId, id, r, a.vocab);
      mine = false;
    }
    const std::uint32_t at = static_cast<std::uint32_t>(id) - begin;
    mine = mine && static_cast<std::uint32_t>(id) >= begin && at < kPart;
    const unsigned equals = __match_any_sync(0xffffffffu, mine ? id : -1);
    const unsigned turn = mine ? __popc(equals & ((1u << lane) - 1)) : 0;
    const unsigned turns = __reduce_max_sync(0xffffffffu, turn);
    for (unsigned t = 0; t <= turns; ++t) {
      if (mine && turn == t) part[at] = __fadd_rn(part[at], value);
      __syncwarp();
    }
  }
}

// Penalizes the tokens of the history, which are named once, in the part that begins at `begin`.
// No multiplication is fused with an addition, as on the CPU.
__device__ void penalize(const Arguments& a, const SamplingRow& row, std::int64_t r,
                         std::uint32_t begin, float* part) {
  for (int i = row.history_begin + static_cast<int>(threadIdx.x); i < row.history_end;
       i += kThreads) {
    const std::int32_t id = a.in.history_ids[i];
    if (id < 0 || static_cast<std::uint32_t>(id) >= a.vocab) {
      if (begin == 0) report(a.fault, FaultKind::kHistoryId, id, r, a.vocab);
      continue;
    }
    const std::uint32_t at = static_cast<std::uint32_t>(id) - begin;
    if (static_cast<std::uint32_t>(id) < begin || at >= kPart || !row.penalized()) continue;
    float logit = part[at];
    logit = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty)
                      : __fmul_rn(logit, row.repetition_penalty);
    const auto count = static_cast<float>(a.in.history_counts[i]);
    if (count > 0) {
      logit = __fsub_rn(logit,
                        __fadd_rn(row.presence_penalty, __fmul_rn(count, row.frequency_penalty)));
    }
    part[at] = logit;
  }
}

// Notes the fault of the lowest row of the turn that has one.
__device__ void report_parameters(const Arguments& a, int rows) {
  int lowest = rows;
  for (int r = threadIdx.x; r < rows; r += kThreads) {
    if (!row_of(a.in, a.first_row + r).valid) {
      lowest = r;
      break;
    }
  }
  lowest = block_reduce<Minimum>(lowest);
  if (lowest == rows || threadIdx.x != 0) return;
  const std::int64_t r = a.first_row + lowest;
  const Fault fault = fault_of(a.in, load_row(a.in, r), r);
  report(a.fault, fault.kind, fault.a, fault.b, fault.c, fault.value);
}

__global__ void __launch_bounds__(kThreads) reduce_parts(const Arguments a) {
  __shared__ float part[kPart];
  const BlockRow at = block_row(a, blockIdx.y);
  const std::uint32_t begin = blockIdx.x * kPart;
  // The logits come while the row is read.
  float values[2][kQuad];
  std::uint32_t first[2];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    first[q] = begin + (q * kThreads + threadIdx.x) * kQuad;
    load_quad(at.given, first[q], a.vocab, a.aligned, values[q]);
  }
  const SamplingRow& row = shared_row(a, at.index);
  if (blockIdx.x == 0 && blockIdx.y == 0) report_parameters(a, static_cast<int>(gridDim.y));

  // What the kernels behind this one count in.
  const unsigned problems = a.num_top > 0 ? 2 : 1;
  for (unsigned z = 0; z < problems; ++z) {
    const std::int64_t slot = z * static_cast<std::int64_t>(gridDim.y) + at.local;
    if (blockIdx.x == 0 && threadIdx.x == 0) a.states[slot] = RowState{};
    if (z == kDraw && !row.filtered()) continue;
    for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < kBuckets;
         i += gridDim.x * kThreads) {
      a.counts[slot * kBuckets + i] = 0;
      if (z == kDraw) a.masses[slot * kBuckets + i] = 0;
    }
  }
  if (a.logprobs) {
    float highest = -INFINITY;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) highest = fmaxf(highest, values[q][i]);
    }
    highest = block_reduce<Maximum>(highest);
    double sum = 0.0;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (values[q][i] != -INFINITY) sum += exp(static_cast<double>(values[q][i] - highest));
      }
    }
    sum = block_reduce<Sum>(sum);
    if (threadIdx.x == 0) {
      a.part_highest[at.local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = highest;
      a.part_sum[at.local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = sum;
    }
  }

  if (row.adjusted()) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const std::uint32_t id = first[q] + i;
        const bool out = row.mask >= 0 && id < a.vocab && !allowed(a, row, id);
        part[id - begin] = out ? -INFINITY : values[q][i];
      }
    }
    __syncthreads();
    if (threadIdx.x < kWarp) add_bias(a, row, at.index, begin, part);
    __syncthreads();
    penalize(a, row, at.index, begin, part);
    __syncthreads();
    float* adjusted = a.adjusted + at.local * a.pitch;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        values[q][i] = part[first[q] + i - begin];
        if (first[q] + i < a.vocab) adjusted[first[q] + i] = values[q][i];
      }
    }
  } else if (blockIdx.x == 0) {
    penalize(a, row, at.index, begin, part);  // changes nothing, but checks the list
  }

  Word best = 0;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (first[q] + i < a.vocab) best = max(best, packed(values[q][i], first[q] + i));
    }
  }
  best = block_reduce<Maximum>(best);
  if (threadIdx.x == 0) {
    a.best[at.local * static_cast<std::int64_t>(a.parts) + blockIdx.x] = best;
  }
}

__device__ Word best_of_row(const Arguments& a, int local) {
  Word best = 0;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += blockDim.x) {
    best = max(best, a.best[local * static_cast<std::int64_t>(a.parts) + i]);
  }
  return block_reduce<Maximum>(best);
}

__device__ float highest_given(const Arguments& a, int local) {
  float highest = -INFINITY;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += blockDim.x) {
    highest = fmaxf(highest, a.part_highest[local * static_cast<std::int64_t>(a.parts) + i]);
  }
  return block_reduce<Maximum>(highest);
}

// The logits a row is drawn from, and what brings them to the scale of the draw.
struct Scaled {
  const float* logits;
  bool aligned;
  float highest;
  float temperature;
  std::uint32_t longest;  // float bits of the distance that min-p allows

  __device__ float operator()(float logit) const {
    return __fdiv_rn(__fsub_rn(logit, highest), temperature);
  }
};

// At most 0, so the bits of the absolute value are in the order of the distance; -inf and NaN are
// the largest.
__device__ std::uint32_t distance_bits(float scaled) { return __float_as_uint(fabsf(scaled)); }

__device__ Scaled scaled_logits(const Arguments& a, const BlockRow& at, const SamplingRow& row,
                                float highest) {
  Scaled scaled{at.given, a.aligned, highest, row.temperature, kInfinityBits - 1};
  if (row.adjusted()) {
    scaled.logits = a.adjusted + at.local * a.pitch;
    scaled.aligned = true;
  }
  // The logarithm rounded once, as the host's is in all but rare cases.
  if (row.min_p > 0) {
    scaled.longest = distance_bits(static_cast<float>(log(static_cast<double>(row.min_p))));
  }
  return scaled;
}

// A probability relative to the largest as an integer, so that sums do not depend on their order.
__device__ Word mass_of(const Arguments& a, float scaled) {
  if (scaled < -60.0f) return 0;
  return static_cast<Word>(exp(static_cast<double>(scaled)) * a.mass_scale);
}

// The mass that reaches top_p of the total.
__device__ Word mass_needed(float top_p, Word total) {
  const double needed = ceil(static_cast<double>(top_p) * static_cast<double>(total));
  return max(Word{1}, min(total, static_cast<Word>(needed)));
}

struct Histogram {
  std::uint32_t counts[kBuckets];
  // A sum of masses in two halves: atomics on 32 bits are native in shared memory.
  std::uint32_t low[kBuckets];
  std::uint32_t high[kBuckets];

  __device__ void clear() {
    for (int i = threadIdx.x; i < kBuckets; i += kThreads) counts[i] = low[i] = high[i] = 0;
  }
  __device__ void add(int bucket, Word mass) {
    atomicAdd(&counts[bucket], 1u);
    if (mass == 0) return;
    const auto low_half = static_cast<std::uint32_t>(mass);
    const std::uint32_t old = atomicAdd(&low[bucket], low_half);
    const auto carry = static_cast<std::uint32_t>(old + low_half < old);
    const std::uint32_t high_half = static_cast<std::uint32_t>(mass >> 32) + carry;
    if (high_half != 0) atomicAdd(&high[bucket], high_half);
  }
};

// Sums of the buckets before each thread's own, which are neighbours.
struct Prefix {
  static constexpr int kOwn = kBuckets / kThreads;
  Word own[kOwn];
  Word before;
  Word total;

  // By the whole block, when `own` is filled.
  __device__ void scan() {
    __shared__ Word warps[kThreads / kWarp];
    Word sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) sum += own[i];
    Word upto = sum;
    const int lane = threadIdx.x % kWarp;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const Word below = __shfl_up_sync(0xffffffffu, upto, offset);
      if (lane >= offset) upto += below;
    }
    if (lane == kWarp - 1) warps[threadIdx.x / kWarp] = upto;
    __syncthreads();
    before = upto - sum;
    total = 0;
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
      if (warp < static_cast<int>(threadIdx.x) / kWarp) before += warps[warp];
      total += warps[warp];
    }
    __syncthreads();
  }

  // The bucket in which the sum reaches `need`, from 1 to the total. By the whole block.
  __device__ int bucket_reaching(Word need) const {
    __shared__ int found;
    Word reached = before;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (reached < need && need <= reached + own[i]) found = threadIdx.x * kOwn + i;
      reached += own[i];
    }
    __syncthreads();
    const int bucket = found;
    __syncthreads();
    return bucket;
  }

  // The sum of the buckets before one. By the whole block.
  __device__ Word sum_before(int bucket) const {
    __shared__ Word sum;
    Word reached = before;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (bucket == static_cast<int>(threadIdx.x) * kOwn + i) sum = reached;
      reached += own[i];
    }
    __syncthreads();
    const Word result = sum;
    __syncthreads();
    return result;
  }
};

// From the histogram of a row: the buckets in which its cuts lie.
__device__ void plan_cuts(const Arguments& a, unsigned selection, const SamplingRow& row,
                          const std::uint32_t* counts, const Word* masses, RowState* state) {
  Prefix count;
  Prefix mass;
#pragma unroll
  for (int i = 0; i < Prefix::kOwn; ++i) {
    const int bucket = threadIdx.x * Prefix::kOwn + i;
    count.own[i] = __ldcg(counts + bucket);
    mass.own[i] = selection == kDraw ? __ldcg(masses + bucket) : 0;
  }
  count.scan();
  mass.scan();
  if (selection == kTop) {
    const int last = count.bucket_reaching(a.num_top);
    if (threadIdx.x == 0) state->last_bucket = last;
    return;
  }
  const auto top_k = static_cast<Word>(row.top_k);
  const bool cut_count = top_k > 0 && top_k < count.total;
  int first = kBuckets;  // nothing is cut off
  int last = -1;
  if (cut_count) {
    first = last = count.bucket_reaching(top_k);
    // What top-k leaves has at least the mass before the bucket it ends in.
    const Word sure = mass.sum_before(last);
    if (row.top_p < 1 && sure > 0) first = mass.bucket_reaching(mass_needed(row.top_p, sure));
  } else if (row.top_p < 1) {
    first = last = mass.bucket_reaching(mass_needed(row.top_p, mass.total));
  }
  Word count_before = 0;
  Word mass_before = 0;
  if (first < kBuckets) {
    count_before = count.sum_before(first);
    mass_before = mass.sum_before(first);
  }
  if (threadIdx.x != 0) return;
  state->first_bucket = first;
  state->last_bucket = last;
  state->cut_count = cut_count;
  state->count_before = count_before;
  state->mass_before = mass_before;
  state->mass = mass.total;
}

__global__ void __launch_bounds__(kThreads) find_buckets(const Arguments a) {
  __shared__ Histogram histogram;
  __shared__ bool last_block;
  const unsigned selection = blockIdx.z;
  const BlockRow at = block_row(a, blockIdx.y);
  const SamplingRow& row = shared_row(a, at.index);
  if (selection == kDraw && !row.filtered()) return;

  const std::int64_t slot = selection * static_cast<std::int64_t>(gridDim.y) + at.local;
  histogram.clear();
  __syncthreads();
  const std::uint32_t step = gridDim.x * kThreads * kQuad;
  const std::uint32_t begin = (blockIdx.x * kThreads + threadIdx.x) * kQuad;
  float values[kQuad];
  if (selection == kDraw) {
    const float highest = packed_value(best_of_row(a, at.local));
    if (!isfinite(highest)) return;
    const Scaled scaled = scaled_logits(a, at, row, highest);
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(scaled.logits, id, a.vocab, scaled.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const float value = scaled(values[i]);
        const std::uint32_t distance = distance_bits(value);
        if (distance > scaled.longest) continue;  // also -inf past the end
        histogram.add(bucket_of(distance), row.top_p < 1 ? mass_of(a, value) : 0);
      }
    }
  } else {
    const float highest = highest_given(a, at.local);
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(at.given, id, a.vocab, a.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (id + i < a.vocab) histogram.add(bucket_of(distance_bits(values[i] - highest)), 0);
      }
    }
  }
  __syncthreads();

  std::uint32_t* counts = a.counts + slot * kBuckets;
  Word* masses = a.masses + at.local * static_cast<std::int64_t>(kBuckets);
  for (int i = threadIdx.x; i < kBuckets; i += kThreads) {
    if (histogram.counts[i] != 0) atomicAdd(counts + i, histogram.counts[i]);
    const Word mass = Word{histogram.high[i]} << 32 | histogram.low[i];
    if (selection == kDraw && mass != 0) atomicAdd(masses + i, mass);
  }
  // The block that is last to add finds what it added up to.
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last_block = atomicAdd(&a.states[slot].blocks_done, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last_block) plan_cuts(a, selection, row, counts, masses, a.states + slot);
}

// Gumbel-max in its exponential form: the first of clocks with rates p, whose times are
// -log(u) / p. Times are compared as the CPU computes them.
struct Race {
  Winner winner{kLongestRace, kNobody};

  __device__ void enter(double u, float scaled, std::uint32_t id) {
    // -log(u) >= 1 - u; the slack is for the rounding of the fast exponential.
    if (1.0 - u > winner.time * static_cast<double>(__expf(scaled)) * 1.001) return;
    const auto p = static_cast<float>(exp(static_cast<double>(scaled)));
    if (!(p > 0)) return;
    const double time = -log(u) / static_cast<double>(p);
    if (time < winner.time || (time == winner.time && id < winner.id)) winner = {time, id};
  }

  __device__ void merge(const Winner& other) {
    if (other.time < winner.time || (other.time == winner.time && other.id < winner.id)) {
      winner = other;
    }
  }

  // By the whole block.
  __device__ Winner of_block() const {
    const double time = block_reduce<Minimum>(winner.time);
    return {time, block_reduce<Minimum>(winner.time == time ? winner.id : kNobody)};
  }
};

// The threads of a warp that come here together take neighbouring places.
__device__ void append(std::uint32_t* list, std::uint32_t* length, std::uint32_t id) {
  const unsigned active = __activemask();
  const int leader = __ffs(static_cast<int>(active)) - 1;
  const int lane = threadIdx.x % kWarp;
  std::uint32_t base = 0;
  if (lane == leader) base = atomicAdd(length, static_cast<std::uint32_t>(__popc(active)));
  base = __shfl_sync(active, base, leader);
  list[base + __popc(active & ((1u << lane) - 1))] = id;
}

__global__ void __launch_bounds__(kThreads) run_race(const Arguments a) {
  const unsigned selection = blockIdx.z;
  const BlockRow at = block_row(a, blockIdx.y);
  const SamplingRow& row = shared_row(a, at.index);
  if (selection == kDraw && !row.sampled()) return;

  const std::int64_t slot = selection * static_cast<std::int64_t>(gridDim.y) + at.local;
  RowState& state = a.states[slot];
  std::uint32_t* listed = a.listed + slot * a.vocab;
  const std::uint32_t step = gridDim.x * kThreads * kQuad;
  const std::uint32_t begin = (blockIdx.x * kThreads + threadIdx.x) * kQuad;
  float values[kQuad];
  if (selection == kTop) {
    const float highest = highest_given(a, at.local);
    const int last = state.last_bucket;
    for (std::uint32_t id = begin; id < a.vocab; id += step) {
      load_quad(at.given, id, a.vocab, a.aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (id + i >= a.vocab || bucket_of(distance_bits(values[i] - highest)) > last) continue;
        append(listed, &state.listed, id + i);
      }
    }
    return;
  }

  const float highest = packed_value(best_of_row(a, at.local));
  if (!isfinite(highest)) return;
  const Scaled scaled = scaled_logits(a, at, row, highest);
  const int first_bucket = row.filtered() ? state.first_bucket : kBuckets;
  const int last_bucket = row.filtered() ? state.last_bucket : -1;
  Race race;
  for (std::uint32_t id = begin; id < a.vocab; id += step) {
    load_quad(scaled.logits, id, a.vocab, scaled.aligned, values);
    bool enters[kQuad];
    bool any = false;
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      values[i] = scaled(values[i]);
      const std::uint32_t distance = distance_bits(values[i]);
      const int bucket = bucket_of(distance);
      const bool candidate = distance <= scaled.longest;
      enters[i] = candidate && bucket < first_bucket && values[i] > kHopeless;
      any = any || enters[i];
      if (candidate && bucket >= first_bucket && bucket <= last_bucket) {
        append(listed, &state.listed, id + i);
      }
    }
    if (!any) continue;
    const PhiloxBlock noise = token_noise(row.seed, row.draw_index, id / kQuad);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (enters[i]) race.enter(uniform(noise.words[i]), values[i], id + i);
    }
  }
  const Winner winner = race.of_block();
  if (threadIdx.x == 0) {
    a.winners[at.local * static_cast<std::int64_t>(a.race_blocks) + blockIdx.x] = winner;
  }
}

// The logarithm of the sum of the exponentials of the given logits.
__device__ double log_total(const Arguments& a, int local) {
  const float highest = highest_given(a, local);
  double total = 0.0;
  for (std::uint32_t i = threadIdx.x; i < a.parts; i += kFinishThreads) {
    const std::int64_t part = local * static_cast<std::int64_t>(a.parts) + i;
    const float part_highest = a.part_highest[part];
    // A part without a number above -inf adds nothing, or NaN.
    const double scale =
        part_highest == -INFINITY
            ? 1.0
            : exp(static_cast<double>(part_highest) - static_cast<double>(highest));
    total += a.part_sum[part] * scale;
  }
  total = block_reduce<Sum>(total);
  return static_cast<double>(highest) + log(total);
}

__device__ std::uint32_t draw(const Arguments& a, const BlockRow& at, const SamplingRow& row,
                              float highest) {
  const RowState& state = a.states[at.local];
  Race race;
  for (std::uint32_t i = threadIdx.x; i < a.race_blocks; i += kFinishThreads) {
    race.merge(a.winners[at.local * static_cast<std::int64_t>(a.race_blocks) + i]);
  }
  const std::uint32_t count = row.filtered() ? state.listed : 0;
  if (count == 0) return race.of_block().id;

  const Scaled scaled = scaled_logits(a, at, row, highest);
  const std::uint32_t* listed = a.listed + static_cast<std::int64_t>(at.local) * a.vocab;
  const auto candidate = [&](std::uint32_t i) {
    const std::uint32_t id = listed[i];
    const float value = scaled(scaled.logits[id]);
    return Candidate{Word{distance_bits(value)} << a.id_bits | id, value};
  };
  Word cut = ~Word{0};
  if (state.cut_count) {
    cut = cut_at(count, static_cast<Word>(row.top_k) - state.count_before, candidate,
                 [](const Candidate&) { return Word{1}; });
  }
  if (row.top_p < 1) {
    const auto mass = [&](const Candidate& c) { return c.key <= cut ? mass_of(a, c.scaled) : 0; };
    Word total = state.mass;
    if (state.cut_count) {
      Word kept = 0;
      for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads)
        kept += mass(candidate(i));
      total = state.mass_before + block_reduce<Sum>(kept);
    }
    cut =
        min(cut, cut_at(count, mass_needed(row.top_p, total) - state.mass_before, candidate, mass));
  }
  for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads) {
    const Candidate c = candidate(i);
    if (c.key > cut || c.scaled < kHopeless) continue;
    const std::uint32_t id = listed[i];
    const PhiloxBlock noise = token_noise(row.seed, row.draw_index, id / kQuad);
    std::uint32_t word = noise.words[0];
#pragma unroll
    for (std::uint32_t j = 1; j < kQuad; ++j) word = id % kQuad == j ? noise.words[j] : word;
    race.enter(uniform(word), c.scaled, id);
  }
  return race.of_block().id;
}

// The num_top most likely of the listed tokens, in order.
__device__ void write_top(const Arguments& a, const BlockRow& at, std::int64_t slot) {
  __shared__ std::uint32_t filled;
  const std::uint32_t count = a.states[slot].listed;
  const std::uint32_t* listed = a.listed + slot * a.vocab;
  const auto candidate = [&](std::uint32_t i) {
    const std::uint32_t id = listed[i];
    return Candidate{Word{~ordered_bits(at.given[id])} << a.id_bits | id, 0.0f};
  };
  const Word cut = cut_at(count, a.num_top, candidate, [](const Candidate&) { return Word{1}; });
  Word* chosen = a.chosen + static_cast<std::int64_t>(at.local) * a.num_top;
  if (threadIdx.x == 0) filled = 0;
  __syncthreads();
  for (std::uint32_t i = threadIdx.x; i < count; i += kFinishThreads) {
    const Word key = candidate(i).key;
    if (key <= cut) chosen[atomicAdd(&filled, 1u)] = key;
  }
  const double total = log_total(a, at.local);  // its barriers also end the filling
  const Word id_mask = (Word{1} << a.id_bits) - 1;
  for (std::uint32_t i = threadIdx.x; i < a.num_top; i += kFinishThreads) {
    const Word key = chosen[i];
    std::int64_t place = at.index * a.num_top;
    for (std::uint32_t j = 0; j < a.num_top; ++j) place += chosen[j] < key ? 1 : 0;
    const auto id = static_cast<std::uint32_t>(key & id_mask);
    a.top_ids[place] = static_cast<std::int32_t>(id);
    a.top_logprobs[place] = static_cast<float>(static_cast<double>(at.given[id]) - total);
  }
}

__global__ void __launch_bounds__(kFinishThreads) finish(const Arguments a) {
  const BlockRow at = block_row(a, blockIdx.y);
  if (blockIdx.z == kTop) {
    write_top(a, at, static_cast<std::int64_t>(gridDim.y) + at.local);
    return;
  }
  const SamplingRow& row = shared_row(a, at.index);
  const Word best = best_of_row(a, at.local);
  const float highest = packed_value(best);
  std::uint32_t token = 0;
  if (isfinite(highest)) {
    token = row.sampled() ? draw(a, at, row, highest) : row.valid ? packed_index(best) : 0;
  } else if (row.valid && threadIdx.x == 0) {
    if (highest == INFINITY) {
      report(a.fault, FaultKind::kInfiniteLogit, at.index, packed_index(best));
    } else {
      report(a.fault, FaultKind::kNoFiniteLogit, at.index);
    }
  }
  if (threadIdx.x == 0) a.token_ids[at.index] = static_cast<std::int32_t>(token);
  if (!a.logprobs) return;
  const double total = log_total(a, at.local);
  if (threadIdx.x == 0) {
    a.token_logprobs[at.index] = static_cast<float>(static_cast<double>(at.given[token]) - total);
  }
}

SamplingParameters parameters_of(const SamplingInputs& in) {
  SamplingParameters p{
      .temperature = input<float>(in.temperature),
      .top_k = input<std::int32_t>(in.top_k),
      .top_p = input<float>(in.top_p),
      .min_p = input<float>(in.min_p),
      .repetition_penalty = input<float>(in.repetition_penalty),
      .presence_penalty = input<float>(in.presence_penalty),
      .frequency_penalty = input<float>(in.frequency_penalty),
      .seed = input<std::int64_t>(in.seed),
      .draw_index = input<std::int64_t>(in.draw_index),
      .history_ptr = input<std::int32_t>(in.history_ptr),
      .history_ids = input<std::int32_t>(in.history_ids),
      .history_counts = input<std::int32_t>(in.history_counts),
      .history_size = in.history_ids.numel(),
      .bias_ptr = input<std::int32_t>(in.bias_ptr),
      .bias_ids = input<std::int32_t>(in.bias_ids),
      .bias_values = input<float>(in.bias_values),
      .bias_size = in.bias_ids.numel(),
      .mask_index = nullptr,
      .mask_bits = nullptr,
      .mask_rows = 0,
  };
  if (in.mask_bits.defined()) {
    p.mask_index = input<std::int32_t>(in.mask_index);
    p.mask_bits = input<std::int32_t>(in.mask_bits);
    p.mask_rows = in.mask_bits.dim(0);
  }
  return p;
}

// Hands out the scratch memory piece by piece; without memory it only counts.
class Layout {
 public:
  explicit Layout(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

  template <typename T>
  void place(T*& pointer, std::int64_t count) {
    pointer = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + size_);
    size_ += (static_cast<std::size_t>(count) * sizeof(T) + 255) / 256 * 256;
  }
  std::size_t size() const { return size_; }

 private:
  std::byte* memory_;
  std::size_t size_ = 0;
};

std::size_t place_scratch(Arguments& a, std::int64_t rows, void* memory) {
  Layout layout(memory);
  const std::int64_t selections = a.num_top > 0 ? 2 : 1;
  layout.place(a.adjusted, rows * a.pitch);
  layout.place(a.best, rows * a.parts);
  layout.place(a.part_highest, rows * a.parts);
  layout.place(a.part_sum, rows * a.parts);
  layout.place(a.states, selections * rows);
  layout.place(a.counts, selections * rows * kBuckets);
  layout.place(a.masses, rows * kBuckets);
  layout.place(a.listed, selections * rows * a.vocab);
  layout.place(a.winners, rows * a.race_blocks);
  layout.place(a.chosen, rows * a.num_top);
  return layout.size();
}

}  // namespace

void sample(const Context& context, const Tensor& logits, const SamplingInputs& inputs,
            const SamplingOutputs& outputs) {
  const std::int64_t rows = logits.dim(0);
  const std::int64_t vocab = logits.dim(1);
  SG_CHECK(ShapeError, vocab < std::int64_t{1} << 30, "sample: ", vocab, " tokens are too many");
  const std::int64_t turn = std::min(rows, kRowsAtOnce);
  if (turn == 0) return;
  Arguments a{};
  a.logits = input<float>(logits);
  a.vocab = static_cast<std::uint32_t>(vocab);
  a.parts = ceil_div(vocab, kPart);
  a.aligned = vocab % kQuad == 0 && reinterpret_cast<std::uintptr_t>(a.logits) % 16 == 0;
  a.id_bits = std::bit_width(a.vocab);
  // Masses are at most 1, so their sum stays below 2^62.
  a.mass_scale = static_cast<double>(std::uint64_t{1} << (62 - a.id_bits));
  a.in = parameters_of(inputs);
  a.token_ids = output<std::int32_t>(outputs.token_ids);
  a.logprobs = outputs.logprobs.defined();
  if (a.logprobs) {
    a.token_logprobs = output<float>(outputs.logprobs);
    a.num_top = static_cast<std::uint32_t>(outputs.top_ids.dim(1));
    a.top_ids = output<std::int32_t>(outputs.top_ids);
    a.top_logprobs = output<float>(outputs.top_logprobs);
  }
  a.fault = context.stream->fault();
  a.pitch = ceil_div(vocab, kQuad) * std::int64_t{kQuad};
  const std::int64_t filling =
      ceil_div(kBlocksPerMultiprocessor * context.stream->num_multiprocessors(), turn);
  a.race_blocks = static_cast<std::uint32_t>(
      std::min<std::int64_t>(filling, ceil_div(vocab, kThreads * kQuad)));
  place_scratch(a, turn, context.stream->scratch(place_scratch(a, turn, nullptr)));

  const unsigned selections = a.num_top > 0 ? 2 : 1;
  for (std::int64_t first = 0; first < rows; first += turn) {
    const auto count = static_cast<unsigned>(std::min(turn, rows - first));
    a.first_row = static_cast<int>(first);
    launch(reduce_parts, dim3(a.parts, count), dim3(kThreads), 0, context, a);
    launch(find_buckets, dim3(a.race_blocks, count, selections), dim3(kThreads), 0, context, a);
    launch(run_race, dim3(a.race_blocks, count, selections), dim3(kThreads), 0, context, a);
    launch(finish, dim3(1, count, selections), dim3(kFinishThreads), 0, context, a);
  }
}

}  // namespace stagegate::cuda
