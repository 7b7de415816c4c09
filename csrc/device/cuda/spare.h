#pragma once

#include <cstddef>

#include "core/error.h"

namespace stagegate::cuda {

// Calls allocate(wanted), so that what grows soon stops asking; where that is not to be had,
// allocate(needed). Returns which. Throws OutOfMemoryError when neither is.
template <typename Allocate>
std::size_t allocate_with_spare(std::size_t needed, std::size_t wanted, Allocate&& allocate) {
  if (wanted > needed) {
    try {
      allocate(wanted);
      return wanted;
    } catch (const OutOfMemoryError&) {
    }
  }
  allocate(needed);
  return needed;
}

}  // namespace stagegate::cuda
