from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from stagegate.errors import ArgumentError, ShapeError
from stagegate.models.decoder_config import RopeScaling
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.bounds import F32, assert_within
from suites.ops.examples import examples
from suites.ops.faults import assert_names_one
from suites.ops.operands import Place, fetch, load, rounded, shifted, strided

THETA = 1e6


def tables(context: Context, num_positions: int, head_dim: int) -> list[Tensor]:
    return [
        table.to(device=context.device)
        for table in ops.make_rope_table(num_positions, head_dim, THETA)
    ]


def pairs_length(x: np.ndarray) -> np.ndarray:
    """Length of each rotated pair, at both of its elements."""
    half = x.shape[2] // 2
    return np.tile(np.hypot(x[..., :half], x[..., half:]), 2)


SHAPES = [(1, 1, 2), (3, 2, 6), (4, 14, 64), (2, 3, 34), (0, 2, 8)]


def check(
    context: Context, shape: tuple[int, int, int], num_positions: int, dtype: str, place: Place
) -> None:
    random = np.random.default_rng(shape)
    values = random.standard_normal(shape) * 4
    positions = random.integers(0, num_positions, shape[0])
    x = place(context, values, dtype)
    cos_sin = tables(context, num_positions, shape[2])
    ops.rope(context, x, load(context, positions, "i32"), *cos_sin)
    values = rounded(values, dtype)
    expected = references.rope(values, references.rope_angles(positions, shape[2], THETA))
    # The table rounds twice (cos and sin), each product once and their sum once, all relative to
    # the length of the pair, which the rotation keeps: |c| + |s| <= sqrt(2).
    assert_within(fetch(x), expected, dtype, 4 * F32 * pairs_length(values))


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [load, strided])
def test_agrees_with_float64(
    context: Context, dtype: str, shape: tuple[int, int, int], place: Place
) -> None:
    check(context, shape, 5000, dtype, place)


@given(
    shape=st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(1, 40).map(lambda n: 2 * n)),
    num_positions=st.integers(1, 200),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, strided, shifted]),
)
@examples(40)
def test_any_shape(
    device: str, shape: tuple[int, int, int], num_positions: int, dtype: str, place: Place
) -> None:
    check(Context(device), shape, num_positions, dtype, place)


def test_strided_rows_leave_what_lies_between(context: Context, dtype: str) -> None:
    """The queries of a merged projection are rotated; its values lie behind them."""
    wide = load(context, np.random.default_rng(1).standard_normal((3, 5, 8)), dtype)
    before = fetch(wide)
    positions = load(context, [4, 0, 9], "i32")
    ops.rope(context, wide.slice(1, 0, 2), positions, *tables(context, 10, 8))
    after = fetch(wide)
    np.testing.assert_array_equal(after[:, 2:], before[:, 2:])
    assert (after[0, :2] != before[0, :2]).any()


def test_position_zero_is_the_identity(context: Context, dtype: str) -> None:
    values = np.random.default_rng(2).standard_normal((4, 3, 10))
    x = load(context, values, dtype)
    ops.rope(context, x, load(context, [0] * 4, "i32"), *tables(context, 1, 10))
    np.testing.assert_array_equal(fetch(x), rounded(values, dtype))


def test_scores_depend_on_the_distance_alone(context: Context) -> None:
    """What the embedding is for: q at position m times k at n is a function of m - n."""
    q, k = np.random.default_rng(3).standard_normal((2, 1, 1, 64))
    cos_sin = tables(context, 3000, 64)
    scores = []
    for shift in (0, 1, 1500):
        rows = [load(context, values, "f32") for values in (q, k)]
        for row, position in zip(rows, (700 + shift, 690 + shift), strict=True):
            ops.rope(context, row, load(context, [position], "i32"), *cos_sin)
        scores.append((fetch(rows[0]) * fetch(rows[1])).sum())
    magnitude = float(np.linalg.norm(q) * np.linalg.norm(k))
    np.testing.assert_allclose(scores[1:], scores[0], rtol=0, atol=2 * 4 * 2 * F32 * magnitude)


@pytest.mark.parametrize(("head_dim", "theta"), [(64, 1e6), (6, 10000.0), (2, 1.0)])
def test_table_is_exact_far_out(head_dim: int, theta: float) -> None:
    """Angles in f32 would be off by 2^-8 radians at position 40,000."""
    cos, sin = ops.make_rope_table(40_001, head_dim, theta)
    angles = references.rope_angles(np.arange(40_001), head_dim, theta)
    # Rounding to f32, and what the last bits of pow leave of an angle of up to 40,000.
    np.testing.assert_allclose(fetch(cos), np.cos(angles), rtol=0, atol=F32 + 1e-10)
    np.testing.assert_allclose(fetch(sin), np.sin(angles), rtol=0, atol=F32 + 1e-10)


# That of Llama 3.1, and one whose slow and fast frequencies nearly meet.
SCALINGS = [RopeScaling(8.0, 1.0, 4.0, 8192), RopeScaling(2.5, 0.5, 0.75, 100)]


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("head_dim", "theta"), [(128, 5e5), (64, 1e4), (2, 1e4)])
def test_a_scaled_table_is_exact(head_dim: int, theta: float, scaling: RopeScaling) -> None:
    angles = references.rope_angles(np.arange(20_000), head_dim, theta, scaling)
    cos, sin = ops.make_rope_table(20_000, head_dim, theta, _C.RopeScaling(**asdict(scaling)))
    np.testing.assert_allclose(fetch(cos), np.cos(angles), rtol=0, atol=F32 + 1e-10)
    np.testing.assert_allclose(fetch(sin), np.sin(angles), rtol=0, atol=F32 + 1e-10)


def test_scaling_slows_the_slow_and_leaves_the_fast() -> None:
    plain = references.rope_angles(np.ones(1), 128, 5e5)[0]
    scaled = references.rope_angles(np.ones(1), 128, 5e5, SCALINGS[0])[0]
    assert scaled[0] == plain[0]
    assert scaled[-1] == plain[-1] / 8


@pytest.mark.requires_hf
def test_hugging_face_scales_alike() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = SCALINGS[0]
    config = LlamaConfig(
        hidden_size=4096,
        num_attention_heads=32,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_positions,
        },
    )
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")
    ours = references.rope_angles(np.ones(1), 128, 5e5, scaling)[0]
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factor": 0.5}, r"factor must be a number from 1, got 0\.5"),
        ({"factor": float("inf")}, "factor must be a number from 1, got inf"),
        ({"low_freq_factor": 0.0}, "low_freq_factor must be above 0"),
        ({"high_freq_factor": 1.0}, "below high_freq_factor, got 1 and 1"),
        ({"original_max_positions": 0}, "original_max_positions must be positive, got 0"),
    ],
)
def test_a_scaling_out_of_range_is_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ArgumentError, match=f"rope scaling: .*{words}"):
        _C.RopeScaling(**{**asdict(SCALINGS[0]), **changes})


@pytest.mark.parametrize("arguments", [(0, 8, 1e4), (4, 7, 1e4), (4, 0, 1e4), (4, 8, 0.0)])
def test_table_of_nothing_is_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(ArgumentError, match="rope: needs positions, an even head_dim"):
        ops.make_rope_table(*arguments)


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    values = np.random.default_rng(4).standard_normal((33, 3, 18))
    positions = load(context, np.arange(33), "i32")
    one, two = (load(context, values, dtype) for _ in range(2))
    ops.rope(context, one, positions, *tables(context, 40, 18))
    ops.rope(two_threads, two, positions, *tables(context, 40, 18))
    np.testing.assert_array_equal(fetch(one), fetch(two))


@pytest.mark.parametrize(("positions", "token"), [([4], 0), ([0, -1, 9], 1), ([3, 3, 9], 2)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_names_the_first_position_outside_the_table(
    device: str, positions: list[int], token: int, num_threads: int
) -> None:
    context = Context(device, num_threads)
    x = load(context, np.ones((len(positions), 1, 4)), "f32")
    sentences = [
        f"rope: position {positions[at]} of token {at} is outside a table of 4"
        for at in range(token, len(positions))
        if not 0 <= positions[at] < 4
    ]
    where = load(context, positions, "i32")
    table = tables(context, 4, 4)
    assert_names_one(context, lambda: ops.rope(context, x, where, *table), sentences)


def test_odd_head_dim_is_refused(context: Context) -> None:
    x = load(context, np.ones((1, 1, 5)), "f32")
    with pytest.raises(ShapeError, match="rope: head_dim of x must be even"):
        ops.rope(context, x, load(context, [0], "i32"), *tables(context, 1, 4))
