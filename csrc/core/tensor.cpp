#include "core/tensor.h"

#include <algorithm>
#include <numeric>

namespace stagegate {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

namespace {

std::int64_t product(std::int64_t a, std::int64_t b, const Shape& shape) {
  std::int64_t result = 0;
  SG_CHECK(ShapeError, !__builtin_mul_overflow(a, b, &result), "tensor: shape ", to_string(shape),
           " has more elements than can be counted");
  return result;
}

}  // namespace

std::int64_t numel_of(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count = product(count, extent, shape);
  return count;
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride = product(stride, shape[i], shape);
  }
  return strides;
}

namespace {

// One past the last element a view touches, in elements from the start of the storage.
std::int64_t extent_of(const Shape& shape, const Shape& strides, std::int64_t offset) {
  std::int64_t last = offset;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return offset;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

bool contiguous_from(const Shape& shape, const Shape& strides, std::size_t first) {
  std::int64_t expected = 1;
  for (std::size_t i = shape.size(); i-- > first;) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

}  // namespace

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape, Shape strides,
               std::int64_t offset)
    : storage_(std::move(storage)),
      dtype_(dtype),
      shape_(std::move(shape)),
      strides_(std::move(strides)),
      offset_(offset) {
  SG_CHECK(ShapeError, shape_.size() == strides_.size(), "tensor: shape ", to_string(shape_),
           " and strides ", to_string(strides_), " have different ranks");
  SG_CHECK(ShapeError, std::ranges::all_of(shape_, [](std::int64_t n) { return n >= 0; }),
           "tensor: shape ", to_string(shape_), " has a negative dimension");
  SG_CHECK(ShapeError, offset_ >= 0, "tensor: negative offset ", offset_);
  const auto needed = static_cast<std::size_t>(extent_of(shape_, strides_, offset_));
  SG_CHECK(ShapeError, needed <= storage_->size_bytes() / size_of(dtype_),
           "tensor: ", name_of(dtype_), to_string(shape_), " needs ", needed,
           " elements but the storage has ", storage_->size_bytes(), " bytes");
}

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, Shape shape)
    : Tensor(std::move(storage), dtype, shape, contiguous_strides(shape), 0) {}

bool Tensor::is_contiguous() const { return numel() == 0 || contiguous_from(shape_, strides_, 0); }

bool Tensor::is_row_contiguous() const {
  return rank() > 0 && (numel() == 0 || contiguous_from(shape_, strides_, 1));
}

Tensor Tensor::view(Shape shape) const {
  SG_CHECK(ContiguityError, is_contiguous(), "view: ", describe(),
           " is not contiguous; use reshape");
  const auto inferred = std::ranges::find(shape, -1);
  if (inferred != shape.end()) {
    *inferred = 1;
    const std::int64_t known = numel_of(shape);
    SG_CHECK(ShapeError, known > 0 && numel() % known == 0, "view: cannot infer -1 for ",
             describe());
    *inferred = numel() / known;
  }
  SG_CHECK(ShapeError,
           std::ranges::all_of(shape, [](std::int64_t n) { return n >= 0; }) &&
               numel_of(shape) == numel(),
           "view: ", describe(), " cannot become ", to_string(shape));
  Shape strides = contiguous_strides(shape);
  return Tensor(storage_, dtype_, std::move(shape), std::move(strides), offset_);
}

Tensor Tensor::slice(int dim, std::int64_t start, std::int64_t stop) const {
  SG_CHECK(ArgumentError, dim >= 0 && dim < rank(), "slice: dimension ", dim, " of ", describe());
  const auto d = static_cast<std::size_t>(dim);
  SG_CHECK(ArgumentError, 0 <= start && start <= stop && stop <= shape_[d], "slice: [", start, ", ",
           stop, ") is outside dimension ", dim, " of ", describe());
  Shape shape = shape_;
  shape[d] = stop - start;
  // A view of nothing keeps its place: the storage of an empty tensor has no other.
  const std::int64_t offset = numel_of(shape) > 0 ? offset_ + start * strides_[d] : offset_;
  return Tensor(storage_, dtype_, std::move(shape), strides_, offset);
}

Tensor Tensor::permute(const std::vector<int>& dims) const {
  std::vector<int> sorted = dims;
  std::ranges::sort(sorted);
  std::vector<int> identity(static_cast<std::size_t>(rank()));
  std::iota(identity.begin(), identity.end(), 0);
  SG_CHECK(ArgumentError, sorted == identity, "permute: not a permutation of the ", rank(),
           " dimensions of ", describe());
  Shape shape;
  Shape strides;
  for (const int d : dims) {
    shape.push_back(dim(d));
    strides.push_back(stride(d));
  }
  return Tensor(storage_, dtype_, std::move(shape), std::move(strides), offset_);
}

std::string Tensor::describe() const {
  if (!defined()) return "undefined tensor";
  return message(name_of(dtype_), to_string(shape_), " on ", device().name());
}

void Tensor::throw_dtype_mismatch(DType wanted) const {
  throw DTypeError(message("expected ", name_of(wanted), " elements, got ", describe()));
}

}  // namespace stagegate
