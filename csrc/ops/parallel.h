#pragma once

#include <cstdint>
#include <exception>

namespace stagegate {

// Runs iterations of a parallel loop and keeps the exception of the lowest one: none may leave an
// OpenMP region, and which error is reported must not depend on the number of threads.
class ParallelErrors {
 public:
  template <typename Fn>
  void run(std::int64_t i, Fn&& fn) {
    try {
      fn(i);
    } catch (...) {
#pragma omp critical(stagegate_parallel_errors)
      if (!error_ || i < failed_) {
        failed_ = i;
        error_ = std::current_exception();
      }
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
  std::int64_t failed_ = 0;
};

// Runs fn(i) for i in [0, count) on up to num_threads OpenMP threads, contiguous chunks a thread.
// Rethrows the exception of the lowest i.
template <typename Fn>
void parallel_for(std::int64_t count, int num_threads, Fn&& fn) {
  ParallelErrors errors;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (count > 1 && num_threads > 1)
  for (std::int64_t i = 0; i < count; ++i) errors.run(i, fn);
  errors.rethrow();
}

// The same for iterations of unequal length: a thread takes the next one when it is free.
template <typename Fn>
void parallel_for_uneven(std::int64_t count, int num_threads, Fn&& fn) {
  ParallelErrors errors;
#pragma omp parallel for schedule(dynamic) \
    num_threads(num_threads) if (count > 1 && num_threads > 1)
  for (std::int64_t i = 0; i < count; ++i) errors.run(i, fn);
  errors.rethrow();
}

}  // namespace stagegate
