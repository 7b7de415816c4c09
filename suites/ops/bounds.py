"""How far a result may be from the exact one.

A result is computed in f32 and stored once. Storing costs at most the unit roundoff of the format,
relative to the value, or half the spacing of its subnormals. A sum of n products in f32, in any
order, costs at most n * 2^-24 / (1 - n * 2^-24) relative to the sum of their absolute values
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), so callers state the
error of the computation relative to such a magnitude and not to a value that may have cancelled.
"""

from __future__ import annotations

import numpy as np

from suites.ops import references

F32 = 2.0**-24
UNIT_ROUNDOFF = {"f32": F32, "f16": 2.0**-11, "bf16": 2.0**-8}
HALF_SMALLEST = {"f32": 2.0**-150, "f16": 2.0**-25, "bf16": 2.0**-134}


def sum_error(terms: int) -> float:
    """Relative error of a sum of this many rounded f32 products."""
    return terms * F32 / (1 - terms * F32)


def assert_within(
    actual: np.ndarray, expected: np.ndarray, dtype: str, computed: np.ndarray | float
) -> None:
    """Every element within the error of the f32 computation plus that of storing it in dtype.

    computed: absolute error allowed before storing, broadcast to the result.
    """
    assert actual.shape == expected.shape
    unit = UNIT_ROUNDOFF[dtype]
    allowed = computed + unit * (np.abs(expected) + computed) + HALF_SMALLEST[dtype]
    error = np.abs(actual - expected)
    # Written so that NaN fails.
    wrong = ~(error <= allowed)
    if wrong.any():
        at = np.unravel_index(np.argmax(np.where(wrong, error / allowed, 0)), wrong.shape)
        where = tuple(map(int, at))
        msg = (
            f"{wrong.sum()} of {wrong.size} elements are off; at {where}: "
            f"{actual[at]!r} for {expected[at]!r}, allowed error {allowed[at]:.3g}"
        )
        raise AssertionError(msg)


def linear_error(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, dtype: str
) -> np.ndarray:
    """Of linear before its result is stored: depth products and the bias are one sum.

    Instructions of CPUs that multiply pairs of bf16 take subnormal operands and results for zero
    (Intel, Instruction Set Extensions Programming Reference, VDPBF16PS and TDPBF16PS). Each of
    depth products and as many additions may so lose less than the smallest normal number, times the
    other operand where it is a factor that is lost.
    """
    depth = x.shape[1]
    magnitude = references.linear(abs(x), abs(weight), None if bias is None else abs(bias))
    largest_x, largest_weight = (np.max(abs(values), initial=0) for values in (x, weight))
    lost = 2.0**-126 * (1 + largest_x) * (1 + largest_weight) if dtype == "bf16" else 0.0
    return sum_error(depth + 2) * magnitude + 2 * depth * lost  # type: ignore[no-any-return]
