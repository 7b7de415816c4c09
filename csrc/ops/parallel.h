#pragma once

#include <cstdint>
#include <exception>

namespace stagegate {

// Runs fn(i) for i in [0, count) on up to num_threads OpenMP threads, contiguous chunks a thread.
// The exception of the lowest i is rethrown here, so that an error does not depend on the number of
// threads: one may not leave an OpenMP region.
template <typename Fn>
void parallel_for(std::int64_t count, int num_threads, Fn&& fn) {
  std::exception_ptr error;
  std::int64_t failed = count;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (count > 1 && num_threads > 1)
  for (std::int64_t i = 0; i < count; ++i) {
    try {
      fn(i);
    } catch (...) {
#pragma omp critical(stagegate_parallel_for)
      if (i < failed) {
        failed = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

// The same for iterations of unequal length: a thread takes the next one when it is free.
template <typename Fn>
void parallel_for_uneven(std::int64_t count, int num_threads, Fn&& fn) {
  std::exception_ptr error;
  std::int64_t failed = count;
#pragma omp parallel for schedule(dynamic) \
    num_threads(num_threads) if (count > 1 && num_threads > 1)
  for (std::int64_t i = 0; i < count; ++i) {
    try {
      fn(i);
    } catch (...) {
#pragma omp critical(stagegate_parallel_for)
      if (i < failed) {
        failed = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace stagegate
