"""What sampling refuses, and how it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stagegate import _C
from stagegate._C import Context, ops
from stagegate.errors import ArgumentError, ShapeError
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import sample, sampling_tensors
from suites.ops.sampling_reference import Row

LOGITS = np.linspace(-2, 2, 61)

BAD_VALUES: dict[str, list[Any]] = {
    "temperature": [-0.1, np.nan, np.inf],
    "top_k": [-1],
    "top_p": [0.0, -0.5, 1.01, np.nan],
    "min_p": [-0.1, 1.01, np.nan],
    "repetition_penalty": [0.0, -1.0, np.inf, np.nan],
    "presence_penalty": [np.inf, np.nan],
    "frequency_penalty": [-np.inf, np.nan],
}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [(parameter, value) for parameter, values in BAD_VALUES.items() for value in values],
)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_error_names_the_first_bad_row_and_its_parameter(
    device: str, parameter: str, value: float, num_threads: int
) -> None:
    rows = [Row()] * 6
    change: dict[str, Any] = {parameter: value}
    rows[2] = rows[5] = replace(Row(), **change)
    [wanted] = [line.range for line in _C.SAMPLING_PARAMETERS if line.name == parameter]
    with pytest.raises(ArgumentError) as caught:
        sample(Context(device, num_threads), LOGITS, rows)
    assert str(caught.value) == f"sample: {parameter} of row 2 must be {wanted}, got {value:g}"


def test_bad_values_are_tried_of_every_parameter() -> None:
    assert BAD_VALUES.keys() == {parameter.name for parameter in _C.SAMPLING_PARAMETERS}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(bias={61: 0.0}), "bias_ids of row 1 names token 61 of a vocabulary of 61"),
        (Row(bias={-1: 0.0}), "bias_ids of row 1 names token -1 of"),
        (Row(bias={4: np.inf}), "bias_values of row 1 must be finite or -inf, got inf"),
        (Row(bias={4: np.nan}), "bias_values of row 1 must be finite or -inf, got nan"),
        (
            Row(history={61: 1}, presence_penalty=1.0),
            "history_tokens of row 1 names token 61 of a vocabulary of 61",
        ),
        (
            Row(history={-5: 0}, repetition_penalty=2.0),
            "history_tokens of row 1 names token -5 of",
        ),
        (Row(bias=dict.fromkeys(range(61), -np.inf)), "row 1 has no finite logit"),
    ],
)
def test_error_names_the_row_and_its_list(context: Context, row: Row, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"sample: {message}"):
        sample(context, LOGITS, [Row(), row])


ASKED = {
    "sampled": Row(),
    "greedy": Row(temperature=0.0),
    "top-k": Row(top_k=5),
    "top-p": Row(top_p=0.9),
    "min-p": Row(min_p=0.1),
    "biased": Row(bias={0: 3.0}),
    "biased itself": Row(bias={4999: 50.0, 2048: -50.0, 7: 1.0}),
    "penalised": Row(history={0: 1, 7: 2}, repetition_penalty=1.5, presence_penalty=1.0),
    "scored": Row(temperature=0.0, bias={0: 1e30}),  # as the tokens of a prompt are
    "masked": Row(allowed=frozenset({1, 2})),
    "guided": Row(temperature=0.0, allowed=frozenset(range(3000))),
}


@pytest.mark.parametrize(
    ("value", "name"), [(np.nan, "a logit of NaN"), (-np.nan, "a logit of NaN"), (np.inf, "an inf")]
)
@pytest.mark.parametrize("token", [7, 2048, 4999])
@pytest.mark.parametrize("num_logprobs", [0, 3])
@pytest.mark.parametrize("row", ASKED.values(), ids=ASKED)
def test_a_logit_that_is_no_number_is_refused_whatever_is_asked(
    context: Context, value: float, name: str, token: int, num_logprobs: int, row: Row
) -> None:
    """In one row of three; a mask does not hide it."""
    logits = np.random.default_rng(token).standard_normal((3, 5000))
    logits[1, token] = value
    logits[:, 6] = -np.inf  # no fault
    message = f"sample: row 1 has {name}.* for token {token}"
    with pytest.raises(ArgumentError, match=message):
        sample(context, logits, [Row(), row, row], num_logprobs)
    fine = sample(context, logits[[0, 2]], [row, row], num_logprobs)
    assert np.isfinite(fine.logprobs).all()


def test_the_first_nan_of_a_row_is_named(context: Context) -> None:
    for others in ([np.inf], [np.nan], [-np.inf], [1e38]):
        logits = np.array([0.0, *others * 2000, np.nan, *others * 3000, 5.0])
        first = int(np.isnan(logits).argmax())
        message = f"row 0 has a logit of NaN for token {first}; the weights or their dtype"
        with pytest.raises(ArgumentError, match=message):
            sample(context, logits, [Row()])


def test_a_row_of_nothing_but_nan_is_refused(context: Context) -> None:
    with pytest.raises(ArgumentError, match="row 0 has a logit of NaN for token 0"):
        sample(context, np.full(5000, np.nan), [Row()], 5)


def sample_with(context: Context, name: str, values: list[int]) -> list[int]:
    """Two rows with lists of two tokens, and one operand replaced."""
    one = Row(temperature=0.0, repetition_penalty=1.5, history={1: 2}, bias={1: 1.0})
    tensors = sampling_tensors(context, [one, replace(one, history={2: 2})])
    tensors[name] = load(context, values, "i32")
    token_ids = poisoned(context, (2,), "i32")
    ops.sample(
        context,
        load(context, np.zeros((2, 5)), "f32"),
        _C.SamplingInputs(**tensors),
        _C.SamplingOutputs(token_ids=token_ids),
    )
    context.synchronize()
    found: list[int] = fetch(token_ids).tolist()
    return found


@pytest.mark.parametrize("offsets", [[0, 5, 2], [0, 1, 3], [-1, 1, 2], [0, 2, 1]])
def test_offsets_stay_inside_their_list(context: Context, offsets: list[int]) -> None:
    with pytest.raises(ArgumentError, match=r"sample: bias_ptr of row . runs from .* in a list"):
        sample_with(context, "bias_ptr", offsets)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("history_rows", [0, 2], "history_rows of row 1 is 2, history_tokens has 2 lists"),
        ("history_rows", [-2, 0], "history_rows of row 0 is -2, history_tokens has 2 lists"),
        ("history_lens", [2, 4], "history_lens of row 1 is 4, a list holds 3 tokens"),
        ("history_lens", [-1, 2], "history_lens of row 0 is -1, a list holds 3 tokens"),
    ],
)
def test_a_history_stays_inside_its_list(
    context: Context, name: str, values: list[int], message: str
) -> None:
    with pytest.raises(ArgumentError, match=f"sample: {message}"):
        sample_with(context, name, values)


def test_a_prompt_is_no_longer_than_its_list(context: Context) -> None:
    """Nobody knows a sequence whose prompt is cut off or negative, but it reads nothing else."""
    for border in ([9, 9], [-9, -9]):
        assert sample_with(context, "history_prompts", border) == [1, 1]


def test_a_row_without_a_penalty_reads_no_history(context: Context) -> None:
    rows = [Row(temperature=0.0, history={-5: 1}), Row(temperature=0.0, history={10**6: 0})]
    assert sample(context, LOGITS, rows).token_ids.tolist() == [60, 60]


def test_wrong_masks_are_refused(context: Context) -> None:
    def run(index: list[int], bits: np.ndarray) -> None:
        ops.sample(
            context,
            load(context, np.stack([LOGITS, LOGITS]), "f32"),
            _C.SamplingInputs(
                **sampling_tensors(context, [Row(), Row()]),
                mask_index=load(context, index, "i32"),
                mask_bits=load(context, bits, "i32"),
            ),
            _C.SamplingOutputs(token_ids=poisoned(context, (2,), "i32")),
        )
        context.synchronize()

    run([-1, 0], np.full((1, 2), -1))
    with pytest.raises(ShapeError, match="mask_bits"):
        run([-1, 0], np.full((1, 3), -1))
    with pytest.raises(ShapeError, match="mask_index"):
        run([0], np.full((1, 2), -1))
    for index in (-2, 1):
        with pytest.raises(ArgumentError, match=f"mask_index of row 1 is {index}"):
            run([0, index], np.full((1, 2), -1))
    with pytest.raises(ArgumentError, match="row 0 has no finite logit"):
        run([0, -1], np.zeros((1, 2)))


def test_a_vocabulary_of_nothing_is_refused(context: Context) -> None:
    with pytest.raises(ShapeError, match="sample: logits have no columns"):
        sample(context, np.zeros((2, 0)), [Row(), Row()])
