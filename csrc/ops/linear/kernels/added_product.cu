#include "device/cuda/launch.h"
#include "ops/linear/kernels/added_product.h"
#include "ops/linear/kernels/weight_ring.cuh"

// The products that are added to the residual. Few rows of a weight and a long depth: the blocks of
// a cluster cut the depth among them and add their sums up in the shared memory of one of them, in
// the order of their ranks. The items of a block are its boxes, tile by tile; its warps have equal
// runs of them.
namespace stagegate::cuda::narrow {

namespace {

struct AddedProduct {
  WeightTiles weight;
  const void* x;     // [rows, depth]
  const void* bias;  // [width], or null
  void* residual;    // [rows, width]
  int rows;
  int width;
  int depth;
  AddedPlan plan;
};

// Part `index` of `parts` nearly equal runs of `count` things.
struct Run {
  int begin;
  int end;

  __device__ Run(int count, int parts, int index)
      : begin(static_cast<int>(static_cast<std::int64_t>(count) * index / parts)),
        end(static_cast<int>(static_cast<std::int64_t>(count) * (index + 1) / parts)) {}
  __device__ int size() const { return end - begin; }
};

// What a block multiplies, and where its shared memory goes.
struct AddedShared {
  std::uint8_t* slots;
  std::uint8_t* rows;
  float4* sums;      // [warps][segments][fragments][lanes]
  float4* received;  // [own fragments][ranks][lanes]
  std::uint64_t* barriers;
  int stride;

  __device__ AddedShared(std::uint8_t* shared, const AddedProduct& p, int columns) {
    const int fragments = columns / 8;
    stride = p.plan.stride;
    slots = aligned_shared(shared);
    rows = slots + kWarps * p.plan.ring * kBoxBytes;
    sums = reinterpret_cast<float4*>(rows + p.rows * stride);
    received = sums + kWarps * p.plan.most_segments * fragments * kWarp;
    const int own = (p.plan.most_tiles * fragments + p.plan.cluster - 1) / p.plan.cluster;
    barriers = reinterpret_cast<std::uint64_t*>(received + own * p.plan.cluster * kWarp);
  }
};

// One lane asks for item number `item` of a block.
__device__ inline void ask_item(WarpRing& ring, const AddedProduct& p, const Run& tiles,
                                const Run& boxes, int item) {
  ring.ask(p.weight, tiles.begin + item / boxes.size(), boxes.begin + item % boxes.size());
}

// The part of the rows that the boxes of this block meet; columns beyond the depth are zero.
template <typename T>
__device__ void stage_rows(const AddedProduct& p, const AddedShared& shared, const Run& boxes) {
  constexpr int kAtOnce = 4;
  constexpr int kPack = 16 / sizeof(T);
  const int packs = boxes.size() * kBoxColumns / kPack;  // of a row
  const int first = boxes.begin * kBoxColumns / kPack;
  const int present = p.depth / kPack;
  const auto* x = static_cast<const uint4*>(p.x);
  const int count = p.rows * packs;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kAtOnce * kThreads) {
    uint4 values[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int at = i + u * kThreads;
      const int pack = first + at % packs;
      values[u] = at < count && pack < present
                      ? __ldcg(x + static_cast<std::int64_t>(at / packs) * present + pack)
                      : uint4{};
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int at = i + u * kThreads;
      if (at >= count) break;
      *reinterpret_cast<uint4*>(shared.rows + at / packs * shared.stride + at % packs * 16) =
          values[u];
    }
  }
}

// Multiplies the items of a warp and leaves a sum for each tile they belong to.
template <typename T, int kColumns>
__device__ void multiply_items(const AddedProduct& p, const AddedShared& shared, WarpRing& ring,
                               const Run& tiles, const Run& boxes, const Run& items, int asked) {
  constexpr int kFragments = kColumns / 8;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const RowAddresses<kColumns> rows(shared.rows, shared.stride, p.rows);
  float4* to = shared.sums + warp * p.plan.most_segments * kFragments * kWarp + lane;
  TileSums<kColumns> sums;
  clear<kColumns>(sums);
  int box = items.begin % max(boxes.size(), 1);
  for (int item = items.begin; item < items.end; ++item) {
    multiply_box<T, kColumns>(sums, ring.front(), rows, box);
    ring.pop();
    if (lane == 0 && asked < items.end) ask_item(ring, p, tiles, boxes, asked);
    ++asked;
    if (++box != boxes.size() && item + 1 != items.end) continue;
    box = 0;
#pragma unroll
    for (int i = 0; i < kFragments; ++i) {
      *to = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
      to += kWarp;
    }
    clear<kColumns>(sums);
  }
}

// What the warps of this block have of a fragment of a tile, in their order.
template <int kColumns>
__device__ float4 sum_of_block(const AddedProduct& p, const AddedShared& shared, int num_items,
                               int boxes, int tile, int fragment) {
  constexpr int kFragments = kColumns / 8;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float4 sum{};
  for (int warp = 0; warp < kWarps; ++warp) {
    const Run items(num_items, kWarps, warp);
    if (items.begin >= (tile + 1) * boxes || items.end <= tile * boxes) continue;
    if (items.size() == 0) continue;
    const int segment = warp * p.plan.most_segments + tile - items.begin / boxes;
    const float4 part = shared.sums[(segment * kFragments + fragment) * kWarp + lane];
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  return sum;
}

// The elements of the result that a lane finishes of a fragment.
template <typename T>
struct Elements {
  T* residual[4];  // null: not there
  float before[4] = {};
  float bias[4] = {};

  __device__ Elements(const AddedProduct& p, int tile, int fragment) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = fragment * 8 + 2 * (lane % 4) + j % 2;
      const int column = tile * kTileRows + lane / 4 + 8 * (j / 2);
      residual[j] = nullptr;
      if (row >= p.rows || column >= p.width) continue;
      residual[j] = static_cast<T*>(p.residual) + static_cast<std::int64_t>(row) * p.width + column;
      const auto bits = __ldcg(reinterpret_cast<const unsigned short*>(residual[j]));
      before[j] = to_float(*reinterpret_cast<const T*>(&bits));
      bias[j] = p.bias == nullptr ? 0.0f : to_float(static_cast<const T*>(p.bias)[column]);
    }
  }
  __device__ void add(const float (&product)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (residual[j] == nullptr) continue;
      *residual[j] = from_float<T>(before[j] + to_float(from_float<T>(product[j] + bias[j])));
    }
  }
};

// Sends every fragment to the block that finishes it, and finishes those of this block. Fragment f
// of the cluster is that of rank f % ranks.
template <typename T, int kColumns>
__device__ void add_up(const AddedProduct& p, const AddedShared& shared, const Run& tiles,
                       const Run& boxes, int rank) {
  constexpr int kFragments = kColumns / 8;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int ranks = p.plan.cluster;
  const int count = tiles.size() * kFragments;
  const int items = tiles.size() * boxes.size();
  // The residual of the first fragment that this warp finishes comes while sums are sent.
  const int first = warp * ranks + rank;
  const Elements<T> ahead(p, first < count ? tiles.begin + first / kFragments : p.weight.tiles,
                          first % kFragments);
  ptx::wait_for_cluster();  // all blocks have begun
  for (int f = warp; f < count; f += kWarps) {
    const float4 sum =
        sum_of_block<kColumns>(p, shared, items, boxes.size(), f / kFragments, f % kFragments);
    float4* to = shared.received + (f / ranks * ranks + rank) * kWarp + lane;
    *ptx::of_block(to, static_cast<unsigned>(f % ranks)) = sum;
  }
  ptx::sync_cluster();
  for (int f = first; f < count; f += kWarps * ranks) {
    float product[4] = {};
    for (int from = 0; from < ranks; ++from) {
      const float4 part = shared.received[(f / ranks * ranks + from) * kWarp + lane];
      product[0] += part.x;
      product[1] += part.y;
      product[2] += part.z;
      product[3] += part.w;
    }
    if (f == first) {
      ahead.add(product);
    } else {
      Elements<T>(p, tiles.begin + f / kFragments, f % kFragments).add(product);
    }
  }
}

template <typename T, int kColumns>
__global__ void __launch_bounds__(kThreads) added_product(const __grid_constant__ AddedProduct p) {
  if constexpr (kIsHopper) {
    extern __shared__ std::uint8_t dynamic[];
    const AddedShared shared(dynamic, p, kColumns);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int rank = static_cast<int>(blockIdx.x) % p.plan.cluster;
    const Run tiles(p.weight.tiles, p.plan.clusters, static_cast<int>(blockIdx.x) / p.plan.cluster);
    const Run boxes(p.weight.boxes, p.plan.cluster, rank);
    const Run items(tiles.size() * boxes.size(), kWarps, warp);
    ptx::arrive_at_cluster();
    WarpRing ring(shared.slots + warp * p.plan.ring * kBoxBytes,
                  shared.barriers + warp * p.plan.ring, p.plan.ring);
    const int ahead = min(items.begin + p.plan.ring, items.end);
    if (lane == 0) {
      for (int item = items.begin; item < ahead; ++item) ask_item(ring, p, tiles, boxes, item);
    }
    ptx::let_next_start();
    ptx::wait_for_previous();

    stage_rows<T>(p, shared, boxes);
    __syncthreads();
    multiply_items<T, kColumns>(p, shared, ring, tiles, boxes, items, ahead);
    __syncthreads();
    add_up<T, kColumns>(p, shared, tiles, boxes, rank);
  }
}

}  // namespace

void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual) {
  const std::int64_t rows = residual.dim(0);
  const std::int64_t width = weight.data.dim(0);
  const std::int64_t depth = weight.data.dim(1);
  const AddedProduct product{
      .weight = whole_tiles(weight.data),
      .x = x.raw_data(),
      .bias = weight.bias.defined() ? weight.bias.raw_data() : nullptr,
      .residual = residual.raw_data(),
      .rows = static_cast<int>(rows),
      .width = static_cast<int>(width),
      .depth = static_cast<int>(depth),
      .plan = plan_added(rows, width, depth, context.stream->num_multiprocessors())};
  const auto queue = [&](auto kernel) {
    const dim3 grid(static_cast<unsigned>(product.plan.clusters * product.plan.cluster));
    launch_clusters(Order::kChained, static_cast<unsigned>(product.plan.cluster), kernel, grid,
                    kThreads, static_cast<std::size_t>(product.plan.shared_bytes), context,
                    product);
  };
  dispatch_device("linear", residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      rows <= 8 ? queue(added_product<T, 8>) : queue(added_product<T, 16>);
    }
  });
}

}  // namespace stagegate::cuda::narrow
