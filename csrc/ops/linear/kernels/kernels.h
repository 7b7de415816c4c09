#pragma once

#include "ops/linear/select.h"

// The kernels of linear. Each computes the contract of linear.h; what it takes is a line of the
// table in select.cpp.
namespace stagegate {

namespace cpu {

// Loops written for registers and caches, in any instruction set; weights are read once for a few
// rows.
bool linear_simd(const Context& context, const LinearProblem& problem,
                 const LinearOperands& operands);

// bf16 on the matrix unit of the instruction set.
bool linear_amx(const Context& context, const LinearProblem& problem,
                const LinearOperands& operands);

// oneDNN, which packs and blocks for many rows. False when this build has no oneDNN or it has no
// kernel for these dtypes on this processor.
bool linear_onednn(const Context& context, const LinearProblem& problem,
                   const LinearOperands& operands);

}  // namespace cpu

namespace cuda {

// cuBLASLt. False when it has no algorithm.
bool linear_cublaslt(const Context& context, const LinearProblem& problem,
                     const LinearOperands& operands);

// A warp an element: slow, and takes everything.
bool linear_general(const Context& context, const LinearProblem& problem,
                    const LinearOperands& operands);

}  // namespace cuda

}  // namespace stagegate
