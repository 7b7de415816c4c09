"""The rows that sequences own on a device: set, gathered for a decode, and moved on by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Context, ops
from stagegate.errors import ArgumentError
from suites.ops.decode_state import DeviceRows, Operands, RowModel, assert_gathered, row_changes
from suites.ops.examples import examples
from suites.ops.faults import assert_names_one
from suites.ops.operands import load
from suites.ops.sampling_batch import SCALARS

COLUMNS = {name: 0.5 if dtype == "f32" else 3 for name, dtype in SCALARS.items()}


def columns_of(data: st.DataObject) -> dict[str, float]:
    numbers: dict[str, st.SearchStrategy[float]] = {
        "f32": st.floats(-4, 4, width=32),
        "i32": st.integers(0, 2**31 - 1),
        "i64": st.integers(-(2**63), 2**63 - 2),
    }
    columns = {name: data.draw(numbers[dtype]) for name, dtype in SCALARS.items()}
    return columns | {"draw_index": data.draw(st.integers(0, 2**40))}


def record(
    context: Context, state: DeviceRows, rows: list[int], tokens: list[int], models: list[RowModel]
) -> None:
    """Takes what was sampled into the rows and into what is expected of them."""
    ops.record_samples(
        context,
        load(context, rows, "i32"),
        load(context, tokens, "i32"),
        load(context, [model.context_len + 1 for model in models], "i32"),
        load(context, [int(model.columns["draw_index"]) for model in models], "i64"),
        state.state,
    )


@pytest.mark.criterion("s1.smoke")
@given(data=st.data())
@examples(60)
def test_rows_are_what_the_host_would_build(device: str, data: st.DataObject) -> None:
    """Sequences come, get blocks, decode in any batches, leave, and others take their rows."""
    context = Context(device)
    num_rows, width, block_size = (data.draw(st.integers(1, most)) for most in (6, 40, 4))
    positions = width * block_size
    state = DeviceRows(context, num_rows, width, positions)
    models: dict[int, RowModel] = {}
    for _ in range(data.draw(st.integers(1, 6))):
        starts: dict[int, RowModel] = {}
        blocks: list[tuple[int, int, int]] = []
        for row in range(num_rows):
            if row in models and data.draw(st.booleans()):
                continue  # goes on; else one begins here
            starts[row] = models[row] = RowModel(
                last_token=data.draw(st.integers(0, 10**6)),
                context_len=data.draw(st.integers(0, positions - 1)),
                columns=columns_of(data),
                prompt_len=data.draw(st.integers(1, positions)),
            )
            if data.draw(st.booleans()):  # it has a penalty
                first = data.draw(st.integers(0, 10**6))
                starts[row].tokens = list(range(first, first + starts[row].context_len + 1))
        for row, model in models.items():
            while len(model.blocks) <= min(model.context_len // block_size, width - 1):
                block = data.draw(st.integers(0, 1000))
                blocks.append((row, len(model.blocks), block))
                model.blocks.append(block)
        ops.set_rows(context, row_changes(context, starts, blocks), state.state)

        order = data.draw(st.permutations(range(num_rows)))
        there = [row for row in order if models[row].context_len < positions]
        batch = [*there[: data.draw(st.integers(0, num_rows))], -1]
        batch = data.draw(st.permutations(batch))
        operands = Operands(context, len(batch), width)
        ops.gather_rows(context, state.state, load(context, batch, "i32"), block_size, operands.out)
        assert_gathered(
            operands.fetch(), [models[row] if row >= 0 else None for row in batch], block_size
        )

        padded = RowModel(0, -1, {"draw_index": -1})
        record(
            context, state, batch, tokens := [7 * row + 8 for row in batch],
            [models[row] if row >= 0 else padded for row in batch],
        )  # fmt: skip
        for row, token in zip(batch, tokens, strict=True):
            if row >= 0:
                model = models[row]
                model.last_token, model.context_len = token, model.context_len + 1
                model.columns["draw_index"] += 1
                if model.tokens:
                    model.tokens.append(token)
    found = state.fetch()
    for row, model in models.items():
        assert found["last_token"][row] == model.last_token
        assert found["context_len"][row] == model.context_len
        assert found["draw_index"][row] == model.columns["draw_index"]
        assert found["block_tables"][row, : len(model.blocks)].tolist() == model.blocks
        assert found["prompt_len"][row] == model.prompt_len
        held = model.tokens[:positions]  # that of the position behind the last is not kept
        assert found["tokens"][row, : len(held)].tolist() == held


def test_a_long_table_is_gathered_whole(context: Context) -> None:
    """By several thread blocks of a GPU."""
    width = 5000
    model = RowModel(5, width - 1, dict(COLUMNS), blocks=list(range(width, 0, -1)))
    short = replace(model, context_len=2)
    state = DeviceRows(context, 2, width)
    blocks = [(row, index, block) for row in (0, 1) for index, block in enumerate(model.blocks)]
    ops.set_rows(context, row_changes(context, {0: model, 1: short}, blocks), state.state)
    operands = Operands(context, 3, width)
    ops.gather_rows(context, state.state, load(context, [1, -1, 0], "i32"), 1, operands.out)
    found = operands.fetch()
    assert_gathered(found, [short, None, model], 1)
    # What nobody reads is not written either.
    assert (found["block_tables"][0, 3:] == -1).all()
    assert (found["block_tables"][1] == -1).all()


@pytest.fixture
def state(context: Context) -> DeviceRows:
    """Three rows with tables of two blocks of four."""
    rows = DeviceRows(context, 3, 2, 8)
    starts = {row: RowModel(1, row, dict(COLUMNS)) for row in range(3)}
    ops.set_rows(context, row_changes(context, starts, []), rows.state)
    return rows


@pytest.mark.parametrize("rows", [[3], [0, -1], [1, 5, -2, 2**31 - 1]])
def test_a_row_to_set_that_is_not_there(
    context: Context, state: DeviceRows, rows: list[int]
) -> None:
    starts = {row: RowModel(1, 0, dict(COLUMNS)) for row in rows}
    sentences = [
        f"decode_rows: rows[{at}] = {row} is outside 3 rows"
        for at, row in enumerate(rows)
        if not 0 <= row < 3
    ]
    changes = row_changes(context, starts, [])
    assert_names_one(context, lambda: ops.set_rows(context, changes, state.state), sentences)


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ((3, 0, 1), "block_rows[1] = 3 is outside 3 rows"),
        ((-1, 0, 1), "block_rows[1] = -1 is outside 3 rows"),
        ((0, 2, 1), "block_indices[1] = 2 is outside a table of 2 blocks"),
        ((0, -1, 1), "block_indices[1] = -1 is outside a table of 2 blocks"),
    ],
)
def test_a_block_that_has_no_place(
    context: Context, state: DeviceRows, block: tuple[int, int, int], sentence: str
) -> None:
    changes = row_changes(context, {}, [(0, 0, 5), block])
    assert_names_one(
        context, lambda: ops.set_rows(context, changes, state.state), [f"decode_rows: {sentence}"]
    )


def test_many_tokens_are_set_whole(context: Context) -> None:
    """By several thread blocks of a GPU, and not beyond their row."""
    lengths = [5000, 0, 1, 4999]
    state = DeviceRows(context, 4, 1, 5000)
    models = {
        row: RowModel(1, 0, dict(COLUMNS), tokens=list(range(row, row + length)))
        for row, length in zip([2, 0, 3, 1], lengths, strict=True)
    }
    ops.set_rows(context, row_changes(context, models, []), state.state)
    found = state.fetch()["tokens"]
    for row, model in models.items():
        end = len(model.tokens)
        assert found[row, :end].tolist() == model.tokens
        assert (found[row, end:] == -9).all()


@pytest.mark.parametrize(
    ("offsets", "sentence"),
    [
        ([0, 4, 3], "token_ptr[1] runs from 4 to 3 in a list of 12 tokens"),
        ([0, 4, 13], "token_ptr[1] runs from 4 to 13 in a list of 12 tokens"),
        ([0, -1, 12], "token_ptr[0] runs from 0 to -1 in a list of 12 tokens"),
        ([0, 3, 12], "rows[1] has 9 tokens, a row holds 8"),
    ],
)
def test_tokens_that_have_no_place(
    context: Context, state: DeviceRows, offsets: list[int], sentence: str
) -> None:
    models = {row: RowModel(1, 0, dict(COLUMNS), tokens=[row] * 6) for row in (0, 1)}
    changes = row_changes(context, models, [], token_ptr=offsets)
    sentences = [f"decode_rows: {sentence}"]
    if offsets[1] < 0:  # either may be the first
        sentences.append("decode_rows: token_ptr[1] runs from -1 to 12 in a list of 12 tokens")
    assert_names_one(context, lambda: ops.set_rows(context, changes, state.state), sentences)


@pytest.mark.parametrize("rows", [[3], [-1, -2], [0, 1, 4]])
def test_a_row_to_decode_that_is_not_there(
    context: Context, state: DeviceRows, rows: list[int]
) -> None:
    operands = Operands(context, len(rows), 2)
    ids = load(context, rows, "i32")
    sentence = f"decode_rows: rows[{len(rows) - 1}] = {rows[-1]} is outside 3 rows"
    assert_names_one(
        context, lambda: ops.gather_rows(context, state.state, ids, 4, operands.out), [sentence]
    )
    sampled = load(context, [0] * len(rows), "i32")
    draws = load(context, [0] * len(rows), "i64")
    assert_names_one(
        context,
        lambda: ops.record_samples(context, ids, sampled, sampled, draws, state.state),
        [sentence],
    )


@pytest.mark.parametrize("length", [8, 100, 2**31 - 2, -5])
def test_a_table_that_is_full(context: Context, state: DeviceRows, length: int) -> None:
    changes = row_changes(context, {1: RowModel(1, length, dict(COLUMNS))}, [])
    ops.set_rows(context, changes, state.state)
    operands = Operands(context, 2, 2)
    rows = load(context, [0, 1], "i32")
    sentence = f"decode_rows: sequence 1 has {length + 1} tokens, its table of 2 blocks holds 8"
    assert_names_one(
        context, lambda: ops.gather_rows(context, state.state, rows, 4, operands.out), [sentence]
    )


def test_a_struct_needs_each_of_its_tensors(context: Context) -> None:
    tensors = DeviceRows(context, 1, 1).tensors
    del tensors["seed"]
    with pytest.raises(TypeError, match="DecodeRows: seed is missing"):
        _C.DecodeRows(**tensors)
    with pytest.raises(TypeError, match="DecodeRows: rows is no operand"):
        _C.DecodeRows(**DeviceRows(context, 1, 1).tensors, rows=tensors["last_token"])


def test_block_size_must_be_positive(context: Context, state: DeviceRows) -> None:
    operands = Operands(context, 1, 2)
    rows = load(context, [0], "i32")
    with pytest.raises(ArgumentError, match="gather_rows: block_size must be positive, got 0"):
        ops.gather_rows(context, state.state, rows, 0, operands.out)


def test_nothing_to_do(context: Context, state: DeviceRows) -> None:
    before = state.fetch()
    ops.set_rows(context, row_changes(context, {}, []), state.state)
    operands = Operands(context, 0, 2)
    ops.gather_rows(context, state.state, load(context, [], "i32"), 4, operands.out)
    for name, values in state.fetch().items():
        np.testing.assert_array_equal(values, before[name])
