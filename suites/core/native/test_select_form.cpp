// Which forms of a block operator take a call, on devices that need not be here.

#include <string>

#include "check.h"
#include "ops/attention_input/forms.h"
#include "ops/attention_output/forms.h"
#include "ops/block_form.h"
#include "ops/linear/kernels/wide_form.h"
#include "ops/logits/forms.h"
#include "ops/mlp_input/forms.h"
#include "ops/mlp_input/kernels/tiled_plan.h"
#include "ops/mlp_output/forms.h"

namespace {

using stagegate::BlockProblem;
using stagegate::DeviceType;
using stagegate::DType;
using stagegate::FormTraits;
using stagegate::LinearBackend;

constexpr FormTraits kForm{
    .name = "narrow",
    .capability = 90,
    .dtypes = stagegate::k16BitTypes,
    .least_rows = 2,
    .most_rows = 16,
    .deterministic = false,
    .fits = [](const BlockProblem& problem) { return problem.depth % 64 == 0; }};

BlockProblem decode() {
  return {.device = DeviceType::kCUDA,
          .capability = 90,
          .multiprocessors = 132,
          .backend = LinearBackend::kAuto,
          .deterministic = false,
          .dtype = DType::kBF16,
          .rows = 8,
          .width = 1536,
          .depth = 8960,
          .head_dim = 0,
          .has_head_norms = false,
          .alignment = 16};
}

// Whether the form takes a problem that differs in one thing from one that it takes.
template <typename Change>
bool takes_with(Change change) {
  BlockProblem problem = decode();
  change(problem);
  return stagegate::takes(kForm, problem);
}

void a_form_takes_what_its_traits_say() {
  CHECK(stagegate::takes(kForm, decode()));
  CHECK(takes_with([](auto& p) { p.dtype = DType::kF16; }));
  CHECK(takes_with([](auto& p) { p.rows = 2; }));
  CHECK(takes_with([](auto& p) { p.rows = 16; }));
}

void a_form_takes_nothing_else() {
  CHECK(!takes_with([](auto& p) { p.device = DeviceType::kCPU; }));
  CHECK(!takes_with([](auto& p) { p.capability = 80; }));
  CHECK(!takes_with([](auto& p) { p.capability = 100; }));
  CHECK(!takes_with([](auto& p) { p.backend = LinearBackend::kComposed; }));
  CHECK(!takes_with([](auto& p) { p.deterministic = true; }));
  CHECK(!takes_with([](auto& p) { p.dtype = DType::kF32; }));
  CHECK(!takes_with([](auto& p) { p.rows = 1; }));
  CHECK(!takes_with([](auto& p) { p.rows = 17; }));
  CHECK(!takes_with([](auto& p) { p.depth = 8961; }));
}

BlockProblem product(std::int64_t width, std::int64_t depth, std::int64_t head_dim = 0) {
  BlockProblem problem = decode();
  problem.rows = 64;
  problem.width = width;
  problem.depth = depth;
  problem.head_dim = head_dim;
  return problem;
}

// A model of 1.5 billion parameters is short products, one of 7 billion long ones.
void wide_forms_take_products_of_one_round_of_blocks() {
  namespace wide = stagegate::wide;
  CHECK(wide::fits_heads(product(2048, 1536, 128)));
  CHECK(wide::fits_added(product(1536, 1536)));
  CHECK(wide::fits_gated(product(2 * 8960, 1536)));
  CHECK(wide::fits_added(product(1536, 8960)));
  CHECK(!wide::fits_heads(product(4608, 3584, 128)));
  CHECK(!wide::fits_added(product(3584, 3584)));
  CHECK(!wide::fits_gated(product(2 * 18944, 3584)));
  CHECK(!wide::fits_added(product(3584, 18944)));
  CHECK(!wide::fits_heads(product(2048, 1536, 96)));
  CHECK(!wide::fits_gated(product(2 * 100, 1536)));
  CHECK(!wide::fits_added(product(1536, 1500)));
}

void a_wide_product_has_a_stage_for_every_block() {
  namespace wide = stagegate::wide;
  for (std::int64_t width = 8; width <= 2112; width += 8) {
    for (std::int64_t depth = 8; depth <= 1536; depth += 8) {
      const int splits = wide::splits_of(width, depth, wide::kAddedGroups, 132);
      CHECK(splits >= 1 && splits <= wide::kMostSplits);
      CHECK((splits - 1) * wide::kStageDepth < depth);
    }
  }
}

// A block has room for its columns from every other block of the cluster.
void what_blocks_send_each_other_has_room() {
  namespace wide = stagegate::wide;
  for (int rows = 1; rows <= wide::kMostRows; ++rows) {
    for (int splits = 1; splits <= wide::kMostSplits; ++splits) {
      for (int rank = 0; rank < splits; ++rank) {
        const int columns = rows * (rank + 1) / splits - rows * rank / splits;
        CHECK((splits - 1) * columns <= wide::columns_of(rows));
      }
    }
  }
}

// Whether the form for few rows is one of a table and takes a problem.
template <typename Forms>
bool narrow_takes(const Forms& forms, const BlockProblem& problem) {
  for (const auto& form : forms) {
    if (std::string(form.traits.name) == "narrow") return stagegate::takes(form.traits, problem);
  }
  return false;
}

BlockProblem with(BlockProblem problem, std::int64_t rows, std::int64_t width, std::int64_t depth) {
  problem.rows = rows;
  problem.width = width;
  problem.depth = depth;
  return problem;
}

void few_rows_of_the_models_are_computed_whole() {
  for (const std::int64_t rows : {1, 8, 16}) {
    BlockProblem qkv = with(decode(), rows, 2048, 1536);
    qkv.head_dim = 128;
    CHECK(narrow_takes(stagegate::attention_input_forms(), qkv));
    qkv.has_head_norms = true;
    CHECK(!narrow_takes(stagegate::attention_input_forms(), qkv));
    CHECK(narrow_takes(stagegate::attention_output_forms(), with(decode(), rows, 1536, 1536)));
    CHECK(narrow_takes(stagegate::mlp_input_forms(), with(decode(), rows, 17920, 1536)));
    CHECK(narrow_takes(stagegate::mlp_output_forms(), with(decode(), rows, 1536, 8960)));
    CHECK(narrow_takes(stagegate::logits_forms(), with(decode(), rows, 151936, 1536)));
    CHECK(narrow_takes(stagegate::mlp_input_forms(), with(decode(), rows, 37888, 3584)));
    CHECK(narrow_takes(stagegate::mlp_output_forms(), with(decode(), rows, 3584, 18944)));
  }
}

void what_the_copies_cannot_read_is_composed() {
  BlockProblem unaligned = decode();
  unaligned.alignment = 8;
  CHECK(!narrow_takes(stagegate::mlp_output_forms(), unaligned));
  CHECK(!narrow_takes(stagegate::mlp_output_forms(), with(decode(), 8, 64, 100)));
  CHECK(!narrow_takes(stagegate::mlp_input_forms(), with(decode(), 8, 64, 0)));
  CHECK(!narrow_takes(stagegate::mlp_input_forms(), with(decode(), 17, 17920, 1536)));
  // Sixteen rows that a multiprocessor does not hold.
  CHECK(!narrow_takes(stagegate::mlp_input_forms(), with(decode(), 16, 64, 8192)));
}

// Whether the form for prompts takes a problem that differs in one thing from one that it takes.
template <typename Change>
bool tiled_takes_with(Change change) {
  BlockProblem problem = product(2 * 8960, 1536);
  problem.rows = 1000;
  change(problem);
  return stagegate::takes(stagegate::gated_linear_forms().front().traits, problem);
}

void a_tiled_product_takes_prompts() {
  CHECK(tiled_takes_with([](auto&) {}));
  CHECK(tiled_takes_with([](auto& p) { p.dtype = DType::kF16; }));
  CHECK(tiled_takes_with([](auto& p) { p.rows = 65; }));
  CHECK(tiled_takes_with([](auto& p) { p.rows = 16384; }));
  CHECK(tiled_takes_with([](auto& p) { p.width = 2 * 40; }));
  CHECK(tiled_takes_with([](auto& p) { p.depth = 72; }));
  CHECK(!tiled_takes_with([](auto& p) { p.rows = 64; }));
  CHECK(!tiled_takes_with([](auto& p) { p.dtype = DType::kF32; }));
  CHECK(!tiled_takes_with([](auto& p) { p.deterministic = true; }));
  CHECK(!tiled_takes_with([](auto& p) { p.backend = LinearBackend::kComposed; }));
  CHECK(!tiled_takes_with([](auto& p) { p.capability = 100; }));
  CHECK(!tiled_takes_with([](auto& p) { p.width = 2 * 100; }));
  CHECK(!tiled_takes_with([](auto& p) { p.depth = 68; }));
  CHECK(!tiled_takes_with([](auto& p) { p.alignment = 8; }));
}

// Tiles as wide as leaves no multiprocessor idle; as they were the fastest on an H200.
void tiles_fit_the_rows() {
  using stagegate::tiled::columns_of;
  CHECK(columns_of(128, 8960, 132) == 72);
  CHECK(columns_of(256, 8960, 132) == 72);
  CHECK(columns_of(1000, 8960, 132) == 80);
  CHECK(columns_of(4096, 8960, 132) == 64);
  CHECK(columns_of(192, 18944, 132) == 96);
  CHECK(columns_of(8192, 18944, 132) == 96);
}

// What no table of row counts can promise, up to the last rows.
void tiles_leave_little_to_wait_for() {
  namespace tiled = stagegate::tiled;
  for (std::int64_t rows = tiled::kLeastRows; rows <= 16384; ++rows) {
    for (const std::int64_t width : {8960, 18944}) {
      const int columns = tiled::columns_of(rows, width, 132);
      const std::int64_t work = (tiled::tiles_of(rows, width, columns) + 131) / 132 * columns;
      const std::int64_t row_tiles = (rows + tiled::kTileRows - 1) / tiled::kTileRows;
      CHECK(work * 132 <= row_tiles * width * 1.07);
    }
  }
}

}  // namespace

int main() {
  a_form_takes_what_its_traits_say();
  a_form_takes_nothing_else();
  wide_forms_take_products_of_one_round_of_blocks();
  a_wide_product_has_a_stage_for_every_block();
  what_blocks_send_each_other_has_room();
  few_rows_of_the_models_are_computed_whole();
  what_the_copies_cannot_read_is_composed();

  a_tiled_product_takes_prompts();
  tiles_fit_the_rows();
  tiles_leave_little_to_wait_for();
}
