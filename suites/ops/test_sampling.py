"""Which tokens are drawn, how often, and what each draw depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stagegate import _C
from stagegate._C import Context, ops
from suites.ops import sampling_reference as reference
from suites.ops.examples import examples
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import sample, sampling_tensors
from suites.ops.sampling_reference import Row

DRAWS = 20_000
# A right sampler fails one test in ten thousand; the seeds are fixed, so it never does again.
SIGNIFICANCE = 1e-4

LOGITS = np.random.default_rng(11).standard_normal(61).astype(np.float32) * 2

FILTERS = {
    "plain": Row(),
    "cold": Row(temperature=0.3),
    "hot": Row(temperature=4.0),
    "top_k": Row(top_k=7),
    "top_k 1": Row(top_k=1),
    "top_k past the vocabulary": Row(top_k=1000),
    "top_p": Row(top_p=0.7),
    "top_p tiny": Row(top_p=1e-6),
    "min_p": Row(min_p=0.1),
    "min_p 1": Row(min_p=1.0),
    "bias": Row(bias={0: 4.0, 3: -2.0, 60: 1.5}),
    "repetition": Row(repetition_penalty=1.7, history={1: 0, 2: 3, 5: 1, 40: 0, 60: 2}),
    "repetition below 1": Row(repetition_penalty=0.6, history={1: 0, 2: 3, 5: 1}),
    "presence": Row(presence_penalty=1.2, history={1: 0, 2: 3, 5: 1}),
    "frequency": Row(frequency_penalty=0.8, history={1: 0, 2: 3, 5: 1}),
    "negative penalties": Row(presence_penalty=-0.5, frequency_penalty=-0.4, history={9: 2, 8: 0}),
    "min_p, top_k and top_p": Row(temperature=1.6, min_p=0.02, top_k=20, top_p=0.8),
    "mask": Row(allowed=frozenset({0, 3, 31, 32, 33, 60})),
    "mask of one": Row(allowed=frozenset({60})),
    "all": Row(
        allowed=frozenset(range(0, 61, 2)) | {7, 33},
        temperature=1.3,
        top_k=30,
        top_p=0.92,
        min_p=0.01,
        repetition_penalty=1.2,
        presence_penalty=0.4,
        frequency_penalty=0.3,
        history={4: 2, 7: 0, 30: 5},
        bias={4: 3.0, 12: -np.inf, 33: 1.0},
    ),
}


def draws(row: Row, count: int) -> list[Row]:
    """The first draws of one sequence."""
    return [replace(row, draw_index=index) for index in range(count)]


@pytest.mark.unsanitized
@pytest.mark.parametrize("name", FILTERS)
def test_frequencies_fit_the_distribution(context: Context, name: str) -> None:
    """Pearson's chi-square test; tokens expected fewer than five times count as one."""
    row = replace(FILTERS[name], seed=1234)
    expected = DRAWS * reference.distribution(LOGITS, row)
    tokens = sample(context, LOGITS, draws(row, DRAWS)).token_ids
    observed = np.bincount(tokens, minlength=len(LOGITS))
    assert not observed[expected == 0].any()
    rare = expected < 5
    bins = [np.append(counts[~rare], counts[rare].sum()) for counts in (observed, expected)]
    kept = bins[1] > 0
    if kept.sum() == 1:
        assert bins[0][kept] == DRAWS
    else:
        assert stats.chisquare(bins[0][kept], bins[1][kept]).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("name", FILTERS)
def test_token_is_the_one_the_noise_names(context: Context, name: str) -> None:
    random = np.random.default_rng(5)
    rows = [
        replace(
            FILTERS[name],
            seed=int(random.integers(-(2**63), 2**63)),
            draw_index=int(random.integers(0, 2**40)),
        )
        for _ in range(40)
    ]
    logits = random.standard_normal((40, 61)).astype(np.float32) * 3
    expected = [reference.draw(*pair) for pair in zip(logits, rows, strict=True)]
    assert sample(context, logits, rows).token_ids.tolist() == expected


def test_token_of_a_real_vocabulary(context: Context) -> None:
    """Long tails take the paths that order candidates a part at a time."""
    logits = np.random.default_rng(6).standard_normal(30_001).astype(np.float32)
    rows = [
        Row(seed=3),
        Row(seed=4, top_p=0.95),
        Row(seed=5, top_p=0.05),
        Row(seed=6, top_k=5000, top_p=0.999),
        Row(seed=7, min_p=0.01, temperature=0.7),
    ]
    expected = [reference.draw(logits, row) for row in rows]
    assert sample(context, logits, rows).token_ids.tolist() == expected


def test_a_mask_is_of_its_row_alone(context: Context) -> None:
    rows = [Row(seed=seed, allowed=frozenset({seed}) if seed % 3 else None) for seed in range(40)]
    tokens = sample(context, LOGITS, rows, num_logprobs=1)
    free = sample(context, LOGITS, [replace(row, allowed=None) for row in rows], num_logprobs=1)
    for row, token, unmasked in zip(rows, tokens.token_ids, free.token_ids, strict=True):
        assert token == (unmasked if row.allowed is None else row.seed)
    # What the model thinks does not depend on what it may say.
    assert tokens.top_ids.tolist() == free.top_ids.tolist()
    assert tokens.top_logprobs.tolist() == free.top_logprobs.tolist()


# Known answers of the Random123 library (kat_vectors): key, counter, random words.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0, 0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN_ANSWERS)
def test_reference_generator_is_philox(
    key: tuple[int, int], counter: tuple[int, int, int, int], words: list[int]
) -> None:
    assert reference.philox(key, counter) == words


def test_draws_of_equal_logits_follow_the_known_answer(context: Context) -> None:
    """With equal odds the largest random word wins the race."""
    assert sample(context, np.zeros(4), [Row()]).token_ids.tolist() == [1]


@pytest.mark.unsanitized
@pytest.mark.parametrize(
    "other",
    [
        Row(seed=8),
        Row(seed=7 + 2**32),
        Row(seed=7 - 2**63),
        Row(seed=7, draw_index=1),
        Row(seed=7, draw_index=2**32),
    ],
)
def test_other_seeds_and_draws_are_independent(context: Context, other: Row) -> None:
    logits = np.array([0.0, 0.5, 1.0, -0.5, 0.2])
    first = sample(context, logits, draws(Row(seed=7), DRAWS)).token_ids
    shifted = [replace(other, draw_index=other.draw_index + index) for index in range(DRAWS)]
    second = sample(context, logits, shifted).token_ids
    table = np.zeros((5, 5), int)
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE


@pytest.mark.unsanitized
def test_neighbouring_tokens_have_independent_noise(context: Context) -> None:
    """Were the noise of two tokens linked, the odds of a pair alone would show it."""
    for pair in ((0, 1), (3, 4), (0, 4), (1, 9)):
        logits = np.full(10, -np.inf)
        logits[list(pair)] = [0.0, np.log(3.0)]
        tokens = sample(context, logits, draws(Row(seed=2), DRAWS)).token_ids
        test = stats.binomtest(int((tokens == pair[1]).sum()), DRAWS, 0.75)
        assert test.pvalue > SIGNIFICANCE


def test_neighbours_change_nothing(context: Context, two_threads: Context) -> None:
    random = np.random.default_rng(8)
    names = list(FILTERS)
    rows = [
        replace(FILTERS[names[index % len(names)]], seed=index, draw_index=index * 7)
        for index in range(60)
    ]
    logits = random.standard_normal((60, 61)) * 2
    whole = sample(context, logits, rows).token_ids
    order = random.permutation(60)
    shuffled = sample(context, logits[order], [rows[index] for index in order]).token_ids
    alone = [
        sample(context, logits[index], [rows[index]]).token_ids[0] for index in range(0, 60, 7)
    ]
    np.testing.assert_array_equal(shuffled, whole[order])
    np.testing.assert_array_equal(alone, whole[::7])
    np.testing.assert_array_equal(sample(two_threads, logits, rows).token_ids, whole)


def numbers(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, width=32)


@st.composite
def any_row(draw: st.DrawFn, vocab: int) -> Row:
    """Parameters that leave at least one token to draw."""
    tokens = st.integers(0, vocab - 1)
    free = draw(tokens)
    bias = draw(st.dictionaries(tokens, numbers(-10, 10) | st.just(-np.inf), max_size=5))
    if bias.get(free) == -np.inf:
        del bias[free]
    allowed = draw(st.none() | st.frozensets(tokens))
    return Row(
        temperature=draw(st.just(0.0) | numbers(0.0625, 8)),
        top_k=draw(st.integers(0, vocab + 1)),
        top_p=draw(numbers(0.0078125, 1)),
        min_p=draw(numbers(0, 1)),
        repetition_penalty=draw(numbers(0.5, 2)),
        presence_penalty=draw(numbers(-2, 2)),
        frequency_penalty=draw(numbers(-2, 2)),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        draw_index=draw(st.integers(0, 2**63 - 1)),
        history=draw(st.dictionaries(tokens, st.integers(0, 5), max_size=5)),
        bias=bias,
        allowed=None if allowed is None else allowed | {free},
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, list[Row]]:
    """Logits and what each row asks for. The logits are not drawn: they must not tie at a cut."""
    vocab = draw(st.integers(1, 80))
    rows = draw(st.lists(any_row(vocab), min_size=1, max_size=6))
    random = np.random.default_rng([vocab, len(rows), draw(st.integers(0, 99))])
    return random.standard_normal((len(rows), vocab)).astype(np.float32) * 3, rows


@given(batch=batches())
@examples(40)
def test_any_batch(device: str, batch: tuple[np.ndarray, list[Row]]) -> None:
    """Each row draws its token, whatever its neighbours ask for."""
    context = Context(device)
    logits, rows = batch
    count = min(3, logits.shape[1])
    whole = sample(context, logits, rows, count)
    for token, *asked in zip(whole.token_ids, logits, rows, strict=True):
        assert reference.may_draw(token, *asked)
    backwards = sample(context, logits[::-1], rows[::-1], count)
    alone = sample(context, logits[:1], rows[:1], count)
    for name in ("token_ids", "logprobs", "top_ids", "top_logprobs"):
        together = getattr(whole, name)
        np.testing.assert_array_equal(getattr(backwards, name)[::-1], together)
        np.testing.assert_array_equal(getattr(alone, name), together[:1])


def test_greedy_takes_the_largest_after_bias_and_penalties(context: Context) -> None:
    for name, row in FILTERS.items():
        greedy = replace(row, temperature=0.0)
        expected = int(reference.adjusted(LOGITS, greedy).argmax())
        actual = sample(context, LOGITS, draws(greedy, 3)).token_ids.tolist()
        assert actual == [expected] * 3, name


def test_bias_comes_before_the_penalties(context: Context) -> None:
    """-1 + 3 is positive, so it is divided: 2 / 4 < 1. The other order gives -4 + 3 < 0.4."""
    row = Row(temperature=0.0, bias={0: 3.0}, history={0: 0}, repetition_penalty=4.0)
    assert sample(context, np.array([-1.0, 0.4]), [row]).token_ids.tolist() == [0]
    assert sample(context, np.array([-1.0, 0.6]), [row]).token_ids.tolist() == [1]


def test_prompt_tokens_count_for_repetition_alone(context: Context) -> None:
    row = Row(temperature=0.0, presence_penalty=9.0, frequency_penalty=9.0, history={0: 0})
    assert sample(context, np.array([1.0, 0.9]), [row]).token_ids.tolist() == [0]


def test_a_token_is_penalized_once_for_all_its_places(context: Context) -> None:
    """Repetition and presence count it once, frequency each time it was generated."""
    for count in (1, 2, 7, 300):
        row = Row(
            temperature=0.0, repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25,
            history={1: count, 2: 0},
        )  # fmt: skip
        left = 8.0 / 2 - 0.5 - 0.25 * count  # exact in f32
        for other, expected in ((left - 0.125, 1), (left + 0.125, 0)):
            logits = np.array([other, 8.0, -1000.0])
            assert sample(context, logits, [row]).token_ids.tolist() == [expected]


def test_greedy_ties_go_to_the_lowest_id(context: Context) -> None:
    logits = np.array([0.0, 2.0, 2.0, 1.0, 2.0])
    assert sample(context, logits, [Row(temperature=0.0)]).token_ids.tolist() == [1]


@pytest.mark.parametrize("row", [Row(top_k=2), Row(top_p=0.3), Row(top_k=3, top_p=0.5)])
def test_ties_at_the_cut_keep_the_lower_ids(context: Context, row: Row) -> None:
    """Five equal tokens behind a forbidden one: ids 1 and 2 stay in each case."""
    logits = np.array([-np.inf, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert set(sample(context, logits, draws(row, 200)).token_ids) == {1, 2}


def test_top_p_is_of_what_the_other_filters_left(context: Context) -> None:
    """Of 0.4, 0.3, 0.2 and 0.1, top-k 2 leaves 4/7 and 3/7: 0.5 is reached by the first alone."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert set(sample(context, logits, draws(Row(top_k=2, top_p=0.5), 300)).token_ids) == {0}
    assert set(sample(context, logits, draws(Row(top_p=0.5), 300)).token_ids) == {0, 1}


def test_forbidden_tokens_are_never_drawn(context: Context) -> None:
    likely = {int(token): -np.inf for token in np.argsort(-LOGITS)[:58]}
    row = Row(temperature=50.0, bias=likely, top_k=20, top_p=0.99)
    assert not set(sample(context, LOGITS, draws(row, 500)).token_ids) & set(likely)
    assert sample(context, LOGITS, [replace(row, temperature=0.0)]).token_ids[0] not in likely


@pytest.mark.parametrize("at", [0, 2])
def test_a_logit_of_minus_infinity_is_never_drawn(context: Context, at: int) -> None:
    logits = np.array([1.0, 0.5, 0.0])
    logits[at] = -np.inf
    for row in (Row(temperature=0.0), Row(), Row(top_k=2), Row(top_p=0.9)):
        actual = sample(context, logits, draws(row, 50), num_logprobs=3)
        assert at not in actual.token_ids
        assert (actual.top_ids[:, -1] == at).all()
        assert (actual.top_logprobs[:, -1] == -np.inf).all()


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-40])
def test_hardly_warm_is_greedy(context: Context, temperature: float) -> None:
    logits = np.array([1000.0, 999.9, -1000.0])
    rows = draws(Row(temperature=temperature, top_p=0.9), 50)
    assert set(sample(context, logits, rows).token_ids) == {0}


def test_logits_of_any_size_are_drawn_from(context: Context) -> None:
    """Exponentials of the logits themselves would overflow or vanish."""
    for offset in (-3e4, 3e4):
        tokens = sample(context, np.array([0.0, 1.0]) + offset, draws(Row(), 2000)).token_ids
        assert stats.binomtest(int(tokens.sum()), 2000, 1 / (1 + np.exp(-1))).pvalue > SIGNIFICANCE


def test_no_rows(context: Context) -> None:
    assert sample(context, np.zeros((0, 5)), []).token_ids.shape == (0,)


def test_logprobs_may_be_left_out(context: Context) -> None:
    rows = draws(Row(seed=9), 4)
    token_ids = poisoned(context, (4,), "i32")
    ops.sample(
        context,
        load(context, np.broadcast_to(LOGITS, (4, 61)), "f32"),
        _C.SamplingInputs(**sampling_tensors(context, rows)),
        _C.SamplingOutputs(token_ids=token_ids),
    )
    np.testing.assert_array_equal(fetch(token_ids), sample(context, LOGITS, rows).token_ids)
