#include "device/cuda/launch.h"
#include "ops/linear/kernels/added_product.h"
#include "ops/linear/kernels/tile_loop.cuh"

// The products that are added to the residual. Few rows of a weight and a long depth: the blocks of
// a cluster cut the depth among them and add their sums up in the shared memory of one of them, in
// the order of their ranks.
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
  float4* sums;      // [2][warps][fragments][lanes]
  float4* received;  // [own fragments][ranks][lanes]
  int stride;

  __device__ AddedShared(std::uint8_t* shared, const AddedProduct& p, int columns) {
    const int fragments = columns / 8;
    stride = p.plan.stride;
    slots = aligned_shared(shared);
    rows = slots + kWarps * p.plan.ring * kBoxBytes;
    sums = reinterpret_cast<float4*>(rows + p.rows * stride);
    received = sums + 2 * kWarps * fragments * kWarp;
  }
};

// The part of the rows that the boxes of this block meet; columns beyond the depth are zero.
template <typename T>
__device__ void stage_rows(const AddedProduct& p, const AddedShared& shared,
                           const BoxRange& boxes) {
  constexpr int kAtOnce = 4;
  constexpr int kPack = 16 / sizeof(T);
  const int packs = boxes.boxes * kBoxColumns / kPack;  // of a row
  const int first = boxes.first_box * kBoxColumns / kPack;
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
      const int of_tile = lane / 4 + 8 * (j / 2);
      const int column = tile * p.plan.tile_rows + of_tile;
      residual[j] = nullptr;
      if (row >= p.rows || of_tile >= p.plan.tile_rows || column >= p.width) continue;
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

// Sends what this block has of a tile to the blocks that finish its fragments: fragment f of the
// cluster is that of rank f % ranks.
template <int kColumns>
__device__ void send(const AddedProduct& p, const AddedShared& shared, int rank, int tile,
                     const TileSums<kColumns>& sums) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int ranks = p.plan.cluster;
#pragma unroll
  for (int i = 0; i < kColumns / 8; ++i) {
    const int fragment = tile * (kColumns / 8) + i;
    float4* to = shared.received + (fragment / ranks * ranks + rank) * kWarp + lane;
    *ptx::of_block(to, fragment % ranks) =
        make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
  }
}

// What the blocks of the cluster sent of a fragment, in the order of their ranks.
__device__ inline void receive(const AddedShared& shared, int ranks, int fragment,
                               float (&product)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (float& value : product) value = 0.0f;
  for (int from = 0; from < ranks; ++from) {
    const float4 part = shared.received[(fragment / ranks * ranks + from) * kWarp + lane];
    product[0] += part.x;
    product[1] += part.y;
    product[2] += part.z;
    product[3] += part.w;
  }
}

template <typename T, int kColumns, int kDepth>
__global__ void __launch_bounds__(kThreads) added_product(const __grid_constant__ AddedProduct p) {
  if constexpr (kIsHopper) {
    extern __shared__ std::uint8_t dynamic[];
    constexpr int kFragments = kColumns / 8;
    const AddedShared shared(dynamic, p, kColumns);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int ranks = p.plan.cluster;
    const int rank = static_cast<int>(blockIdx.x) % ranks;
    const Run tiles(p.weight.tiles, p.plan.clusters, static_cast<int>(blockIdx.x) / ranks);
    const Run boxes(p.weight.boxes, ranks, rank);
    const BoxRange range{.first_tile = tiles.begin,
                         .tile_step = 1,
                         .tiles = tiles.size(),
                         .first_box = boxes.begin,
                         .boxes = boxes.size()};
    ptx::begin_in_cluster();
    TileLoop<T, kDepth> loop(p.weight, range, shared.slots);
    loop.fill();
    ptx::wait_for_previous();
    ptx::let_next_start();  // measured: a step is slower with the next kernel beside the rings

    // The residual of the first fragment that this warp finishes comes meanwhile.
    const int count = tiles.size() * kFragments;
    const int first = warp * ranks + rank;
    const Elements<T> ahead(p, first < count ? tiles.begin + first / kFragments : p.weight.tiles,
                            first % kFragments);
    stage_rows<T>(p, shared, range);
    __syncthreads();
    ptx::wait_for_cluster();  // all blocks have begun and may be sent to
    loop.template run<kColumns>(
        RowAddresses<kColumns>(shared.rows, shared.stride, p.rows), shared.sums, [](int) {},
        [&](int turn, const TileSums<kColumns>& sums) {
          send<kColumns>(p, shared, rank, turn, sums);
        });
    ptx::sync_cluster();
    for (int fragment = first; fragment < count; fragment += kWarps * ranks) {
      float product[4];
      receive(shared, ranks, fragment, product);
      if (fragment == first) {
        ahead.add(product);
      } else {
        Elements<T>(p, tiles.begin + fragment / kFragments, fragment % kFragments).add(product);
      }
    }
  }
}

}  // namespace

void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual) {
  const std::int64_t rows = residual.dim(0);
  const std::int64_t width = weight.data.dim(0);
  const std::int64_t depth = weight.data.dim(1);
  const AddedPlan plan = plan_added(rows, width, depth, context.stream->num_multiprocessors());
  const AddedProduct product{.weight = whole_tiles(weight.data, plan.tile_rows),
                             .x = x.raw_data(),
                             .bias = weight.bias.defined() ? weight.bias.raw_data() : nullptr,
                             .residual = residual.raw_data(),
                             .rows = static_cast<int>(rows),
                             .width = static_cast<int>(width),
                             .depth = static_cast<int>(depth),
                             .plan = plan};
  const auto queue = [&](auto kernel) {
    const dim3 grid(static_cast<unsigned>(plan.clusters * plan.cluster));
    launch_clusters(Order::kChained, static_cast<unsigned>(plan.cluster), kernel, grid, kThreads,
                    static_cast<std::size_t>(plan.shared_bytes), context, product);
  };
  dispatch_device("linear", residual.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (sizeof(T) == 2) {
      with_ring(plan.ring, [&](auto depth) {
        constexpr int kDepth = decltype(depth)::value;
        rows <= 8 ? queue(added_product<T, 8, kDepth>) : queue(added_product<T, 16, kDepth>);
      });
    }
  });
}

}  // namespace stagegate::cuda::narrow
