"""Decodes by the rows of the core's runner: padded rows, and steps that are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagegate import _C, EngineConfig
from stagegate._C import Tensor
from stagegate.errors import ArgumentError
from stagegate.execution.worker import Worker
from stagegate.models.registry import load_model_config
from suites.ops.decode_state import RowModel, row_changes
from suites.ops.operands import load
from suites.ops.sampling_batch import SCALARS
from suites.ops.sampling_reference import Row, may_draw

SEQS = 6
BLOCK_SIZE = 4
POSITIONS = 64
GREEDY = dict.fromkeys(SCALARS, 0.0) | {"top_p": 1.0, "repetition_penalty": 1.0}


def ids(values: list[int]) -> Tensor:
    return Tensor.from_numpy(np.array(values, np.int32))


def make_runner(model_path: Path, device: str, *, block_size: int = BLOCK_SIZE) -> _C.Runner:
    model = load_model_config(model_path)
    worker = Worker(EngineConfig(model_path, device=device, dtype="f32"), model, "f32")
    return _C.Runner(
        weights=worker._weights, context=worker._context, max_tokens=32, max_rows=SEQS,
        max_positions=POSITIONS, max_seqs=SEQS, block_size=block_size,
    )  # fmt: skip


def start(tokens: list[int], columns: Sequence[Mapping[str, float]] = ()) -> _C.RowChanges:
    """Rows of one-token texts, each with blocks for all positions, from the second block on.

    columns: of each how it is sampled; by default greedily.
    """
    width = POSITIONS // BLOCK_SIZE
    host = _C.Context()
    models = {
        row: RowModel(token, 0, dict(GREEDY), prompt_len=1, tokens=[token])
        for row, token in enumerate(tokens)
    }
    for row, stated in enumerate(columns):
        models[row].columns.update(stated)
    blocks = [
        (row, index, 1 + row * width + index)
        for row in range(len(tokens))
        for index in range(width)
    ]
    return row_changes(host, models, blocks)


def texts(runner: _C.Runner, tokens: list[int], batches: list[list[int]]) -> list[list[int]]:
    """What each row samples when these batches of rows are decoded one after the other."""
    found: list[list[int]] = [[] for _ in tokens]
    changes: _C.RowChanges | None = start(tokens)
    for batch in batches:
        output = runner.decode(_C.DecodeStep(rows=ids(batch), changes=changes)).wait()
        changes = None
        assert output.token_ids is not None
        for row, token in zip(batch, output.token_ids.numpy().tolist(), strict=True):
            if row >= 0:
                found[row].append(token)
            else:
                assert token == 0
    return found


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("captured", [False, True])
def test_a_row_decodes_the_same_in_any_batch(model_path: Path, device: str, captured: bool) -> None:
    """Padded or not, alone or not, in whatever order: by graphs on a GPU when these are there."""
    tokens = [5, 9, 17, 3]
    alone = []
    for token in tokens:
        runner = make_runner(model_path, device)
        runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
        alone.append(texts(runner, [token], [[0]] * 12)[0])
    runner = make_runner(model_path, device)
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    seen: list[tuple[int, int]] = []
    if captured:
        runner.capture(lambda done, of: seen.append((done, of)))
        assert seen == ([] if device == "cpu" else [(i + 1, 4) for i in range(4)])
    batches = [[0, 1, 2, 3], [3, -1, 1], [-1], [2, 0, -1, 3, 1], [1], [-1, -1, 0, 2]] * 3
    for row, found in enumerate(texts(runner, tokens, batches)):
        assert found[:12] == alone[row][: len(found)]
        assert len(found) >= 9


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("with_logprobs", [False, True])
def test_penalties_look_at_the_tokens_of_their_row(
    model_path: Path, device: str, captured: bool, with_logprobs: bool
) -> None:
    """In any batch, whether the sampling is part of the decode or takes lists from the host."""
    runner = make_runner(model_path, device)
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    if captured:
        runner.capture()
    asked = [
        Row(temperature=0.0, repetition_penalty=0.5),
        Row(temperature=0.0, presence_penalty=-12.0),
        Row(temperature=0.0, frequency_penalty=-9.0),
        Row(temperature=0.0, repetition_penalty=3.0, presence_penalty=4.0, frequency_penalty=2.0),
    ]
    columns = [{name: float(getattr(row, name)) for name in SCALARS} for row in asked]
    texts = [[5], [9], [17], [3]]
    changes: _C.RowChanges | None = start([5, 9, 17, 3], columns)
    changed = [0] * 4
    for batch in [[0, 1, 2, 3], [3, -1, 1], [2, 0, -1, 3, 1]] * 8:
        sampling = None
        if with_logprobs:
            draws = [len(texts[row]) - 1 if row >= 0 else -1 for row in batch]
            sampling = _C.SamplingInputs(
                **sampling_columns([
                    columns[row] | {"draw_index": draw}
                    for row, draw in zip(batch, draws, strict=True)
                ])
            )  # fmt: skip
        output = runner.decode(
            _C.DecodeStep(
                rows=ids(batch), changes=changes, sampling=sampling, return_logits=True,
                num_logprobs=0 if with_logprobs else -1,
            )
        ).wait()  # fmt: skip
        changes = None
        assert output.token_ids is not None
        assert output.logits is not None
        tokens, logits = output.token_ids.numpy().tolist(), output.logits.numpy()
        for row, token, given in zip(batch, tokens, logits, strict=True):
            if row >= 0:
                text = texts[row]
                history = dict.fromkeys(text, 0) | Counter(text[1:])
                assert may_draw(token, given, replace(asked[row], history=history))
                changed[row] += int(token != given.argmax())
                text.append(token)
    assert all(changed), changed


def sampling_columns(rows: list[dict[str, float]]) -> dict[str, Tensor]:
    """Of rows without bias."""
    host = _C.Context()
    tensors = {
        name: load(host, [row[name] for row in rows], dtype) for name, dtype in SCALARS.items()
    }
    return tensors | {
        "bias_ptr": ids([0] * (len(rows) + 1)),
        "bias_ids": ids([]),
        "bias_values": load(host, [], "f32"),
    }


def test_sampling_by_lists_goes_on_from_the_rows(model_path: Path, device: str) -> None:
    """With more than a row has: here a bias that forces a token, which the next step then reads."""
    runner = make_runner(model_path, device)
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    plain = texts(runner, [5, 9], [[0, 1]] * 4)
    runner = make_runner(model_path, device)
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    changes: _C.RowChanges | None = start([5, 9])
    for step in range(4):
        forced = [plain[row][step] for row in (1, 0)]
        sampling = sampling_columns([GREEDY | {"draw_index": step}] * 2)
        sampling |= {"bias_ptr": ids([0, 1, 2]), "bias_ids": ids(forced)}
        sampling["bias_values"] = load(_C.Context(), [1e30, 1e30], "f32")
        output = runner.decode(
            _C.DecodeStep(
                rows=ids([1, 0]), changes=changes, sampling=_C.SamplingInputs(**sampling),
                num_logprobs=2, return_logits=True,
            )
        ).wait()  # fmt: skip
        changes = None
        assert output.token_ids is not None
        assert output.top_ids is not None
        assert output.logits is not None
        assert output.token_ids.numpy().tolist() == forced
        # The model's own choice is that of the plain decode: it has read the same tokens.
        assert output.top_ids.numpy()[:, 0].tolist() == forced
        assert output.logits.numpy().argmax(1).tolist() == forced


def test_a_decode_that_does_not_fit(model_path: Path, device: str) -> None:
    runner = make_runner(model_path, device)
    with pytest.raises(ArgumentError, match="decode: the runner has no KV cache yet"):
        runner.decode(_C.DecodeStep(rows=ids([0])))
    with pytest.raises(ArgumentError, match="capture: the runner has no KV cache yet"):
        runner.capture()
    runner.allocate_kv(POSITIONS, "f32")
    for rows, found in ([0] * (SEQS + 1), SEQS + 1), ([], 0):
        message = f"decode: {found} sequences, the runner was planned for 1 to {SEQS}"
        with pytest.raises(ArgumentError, match=message):
            runner.decode(_C.DecodeStep(rows=ids(rows)))


def test_a_row_that_is_not_there(model_path: Path, device: str) -> None:
    runner = make_runner(model_path, device)
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    with pytest.raises(ArgumentError, match=rf"decode_rows: rows\[1\] = {SEQS} is outside {SEQS}"):
        runner.decode(_C.DecodeStep(rows=ids([0, SEQS]), changes=start([5]))).wait()
    # The next step runs as if it had never been.
    assert len(texts(runner, [5], [[0]])[0]) == 1


def test_a_runner_without_tables(model_path: Path, device: str) -> None:
    runner = make_runner(model_path, device, block_size=0)
    runner.allocate_kv(POSITIONS, "f32")
    runner.capture()
    with pytest.raises(ArgumentError, match="decode: the runner was planned without block tables"):
        runner.decode(_C.DecodeStep(rows=ids([0])))


def prepared(model_path: Path) -> _C.Runner:
    runner = make_runner(model_path, "cuda")
    runner.allocate_kv(POSITIONS * (SEQS + 1), "f32")
    return runner


@pytest.mark.requires_gpu
def test_more_steps_than_may_be_in_flight(model_path: Path) -> None:
    """What nobody has waited for is not overwritten."""
    [expected] = texts(prepared(model_path), [5], [[0]] * 4)
    runner = prepared(model_path)
    changes: _C.RowChanges | None = start([5])
    pending = []
    for _ in range(4):
        pending.append(runner.decode(_C.DecodeStep(rows=ids([0]), changes=changes)))
        changes = None
    with pytest.raises(ArgumentError, match="4 steps are in flight; wait for one of them first"):
        runner.decode(_C.DecodeStep(rows=ids([0])))
    outputs = [step.wait().token_ids for step in pending]
    assert [tokens.numpy().tolist() for tokens in outputs if tokens is not None] == [
        [token] for token in expected
    ]
