#include "device/cuda/launch.h"
#include "ops/linear/kernels/added_product.h"
#include "ops/linear/kernels/tile_loop.cuh"

// The products that are added to the residual. A block of threads has some neighbouring rows of the
// weight, whole, and the activations come with its boxes: nothing is summed across blocks.
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

// The elements of the result that a lane finishes of a fragment.
template <typename T>
class Elements {
 public:
  // Asks for what they were, and for the bias.
  __device__ void load(const AddedProduct& p, int tile, int fragment) {
    each(p, tile, fragment, [&](int j, std::int64_t at, int column) {
      const auto bits = __ldcg(static_cast<const unsigned short*>(p.residual) + at);
      before_[j] = to_float(*reinterpret_cast<const T*>(&bits));
      bias_[j] = p.bias == nullptr ? 0.0f : to_float(static_cast<const T*>(p.bias)[column]);
    });
  }
  __device__ void add(const AddedProduct& p, int tile, int fragment,
                      const float (&product)[4]) const {
    each(p, tile, fragment, [&](int j, std::int64_t at, int) {
      static_cast<T*>(p.residual)[at] =
          from_float<T>(before_[j] + to_float(from_float<T>(product[j] + bias_[j])));
    });
  }

 private:
  // fn(j, where in the residual, column) of each that is there.
  template <typename Fn>
  __device__ static void each(const AddedProduct& p, int tile, int fragment, Fn fn) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = fragment * 8 + 2 * (lane % 4) + j % 2;
      const int of_tile = lane / 4 + 8 * (j / 2);
      const int column = tile * p.plan.tile_rows + of_tile;
      if (row >= p.rows || of_tile >= p.plan.tile_rows || column >= p.width) continue;
      fn(j, static_cast<std::int64_t>(row) * p.width + column, column);
    }
  }

  float before_[4];
  float bias_[4];
};

template <typename T, int kColumns, int kDepth>
__global__ void __launch_bounds__(kThreads) added_product(const __grid_constant__ AddedProduct p) {
  if constexpr (kIsHopper) {
    extern __shared__ __align__(128) std::uint8_t slots[];
    constexpr int kFragments = kColumns / 8;
    const AddedPlan& plan = p.plan;
    std::uint8_t* behind = slots + kWarps * kDepth * plan.slot_bytes;
    const SharedSums sums(behind, reinterpret_cast<std::uint64_t*>(behind + plan.sums_bytes));
    if (threadIdx.x == 0) sums.init();
    __syncthreads();
    const int first = static_cast<int>(blockIdx.x) * plan.tiles;
    const BoxRange range{.first_tile = first,
                         .tile_step = 1,
                         .tiles = min(plan.tiles, p.weight.tiles - first),
                         .boxes = p.weight.boxes};
    TileLoop<T, kDepth> loop(p.weight, range, slots, plan.slot_bytes);
    loop.fill();
    ptx::wait_for_previous();

    const RidingRows<T, kColumns> rows(p.x, p.rows, p.depth, p.weight.box_rows() * kBoxRowBytes);
    loop.fill_rows(rows);
    Elements<T> elements[kFragments];
    loop.template run<kColumns>(
        rows, sums,
        [&](int turn) {
#pragma unroll
          for (int i = 0; i < kFragments; ++i) elements[i].load(p, first + turn, i);
        },
        [&](int turn, const TileSums<kColumns>& products) {
#pragma unroll
          for (int i = 0; i < kFragments; ++i) elements[i].add(p, first + turn, i, products[i]);
        });
  }
}

}  // namespace

void add_product(const Context& context, const Tensor& x, const LinearWeight& weight,
                 const Tensor& residual) {
  const std::int64_t rows = residual.dim(0);
  const std::int64_t width = weight.data.dim(0);
  const std::int64_t depth = weight.data.dim(1);
  const AddedPlan plan = plan_added(rows, width, context.stream->num_multiprocessors());
  const AddedProduct product{.weight = whole_tiles(weight.data, plan.tile_rows),
                             .x = x.raw_data(),
                             .bias = weight.bias.defined() ? weight.bias.raw_data() : nullptr,
                             .residual = residual.raw_data(),
                             .rows = static_cast<int>(rows),
                             .width = static_cast<int>(width),
                             .depth = static_cast<int>(depth),
                             .plan = plan};
  const auto queue = [&](auto kernel) {
    launch_chained(kernel, ceil_div(product.weight.tiles, plan.tiles), kThreads,
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
