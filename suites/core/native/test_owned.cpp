// Who destroys a handle of a C library, and when.

#include "device/cuda/owned.h"

#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.h"

namespace {

struct Thing {
  int number;
};
std::vector<int> destroyed;

int destroy(Thing* thing) {
  destroyed.push_back(thing->number);
  return 1;  // a failure, as after the library was torn down
}

using Handle = stagegate::cuda::Owned<Thing*, destroy>;
static_assert(!std::is_copy_constructible_v<Handle> && !std::is_copy_assignable_v<Handle>);

// As the constructor of a stream: what was made before the one that fails is destroyed.
struct HalfMade {
  explicit HalfMade(Thing* thing) {
    *first.out() = thing;
    throw std::runtime_error("the second has no memory");
  }
  Handle first;
  Handle second;
};

}  // namespace

int main() {
  Thing a{1}, b{2}, c{3};
  {
    const Handle none;
  }
  CHECK(destroyed.empty());
  try {
    const HalfMade half(&a);
  } catch (const std::runtime_error&) {
  }
  CHECK((destroyed == std::vector{1}));
  {
    Handle from;
    *from.out() = &b;
    Handle to(std::move(from));
    CHECK(from == nullptr && to == &b);
    Handle other;
    *other.out() = &c;
    other = std::move(to);
    CHECK((destroyed == std::vector{1, 3}));
    CHECK(other == &b);
    CHECK(*other.out() == nullptr);  // makes room for a new one
    CHECK((destroyed == std::vector{1, 3, 2}));
  }
  CHECK((destroyed == std::vector{1, 3, 2}));
}
