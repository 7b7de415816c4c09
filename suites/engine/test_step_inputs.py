"""What a step sends: rows that say on the device what the arrays of the same step say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Context, ops
from stagegate.core.sequence import Sequence
from stagegate.execution.decode_rows import RowChanges
from stagegate.execution.input_batch import StepInput, build_step_input
from stagegate.execution.step import ScheduledSequence, ScheduledStep
from stagegate.execution.step_inputs import ArrayInput, DecodeInput, StepInputs
from stagegate.kv.metadata import PagedMetadata
from stagegate.sampling import SamplingParams
from suites.engine.scheduler_bench import BLOCK_SIZE, VOCAB, Bench, output_of
from suites.ops.decode_state import DeviceRows, Operands
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import sample, sampling_tensors
from suites.ops.sampling_reference import Row

CAPACITY = 40
SEQS = 4
PENALTIES = {"repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25}
PENALIZED = Row(repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.25)


class Device:
    """Runs the inputs of steps by the operators on rows, beside a model that takes the arrays."""

    def __init__(self, context: Context, bench: Bench, *, slot: bool) -> None:
        self.bench = bench
        self.context = context
        self.block_size = 1 if slot else BLOCK_SIZE
        self.width = -(-(CAPACITY + 1) // self.block_size)
        self.rows = DeviceRows(context, SEQS, self.width, CAPACITY)
        self.inputs = StepInputs(bench.kv, num_rows=SEQS, has_tables=True)

    def run(self, step: ScheduledStep) -> list[int]:
        arrays = build_step_input(step, self.bench.kv)
        built = self.inputs.build(step)
        self.set(built.changes)
        if isinstance(built, DecodeInput):
            self.check_history(step, arrays, built.rows, arrays.context_lens)
            return self.decode(built, arrays)
        self.check_history(step, arrays, built.sample_rows, built.sample_lens)
        return self.run_arrays(built, arrays)

    def set(self, changes: RowChanges | None) -> None:
        if changes is None:
            return
        arrays = {part.name: getattr(changes, part.name) for part in fields(RowChanges)}
        arrays |= arrays.pop("parameters")
        tensors = {
            name: _C.Tensor.from_numpy(array).to(device=self.context.device)
            for name, array in arrays.items()
        }
        ops.set_rows(self.context, _C.RowChanges(**tensors), self.rows.state)

    def decode(self, built: DecodeInput, arrays: StepInput) -> list[int]:
        operands = Operands(self.context, len(built.rows), self.width)
        rows = load(self.context, built.rows, "i32")
        ops.gather_rows(self.context, self.rows.state, rows, self.block_size, operands.out)
        found = operands.fetch()
        np.testing.assert_array_equal(found["input_ids"], self.filled_in(arrays))
        for name in ("positions", "slot_mapping", "context_lens"):
            np.testing.assert_array_equal(found[name], getattr(arrays, name))
        assert arrays.sampling is not None
        for name in ("seed", "draw_index"):
            np.testing.assert_array_equal(found[name], getattr(arrays.sampling, name))
        for name, values in arrays.sampling.parameters.items():
            np.testing.assert_array_equal(found[name], values)
        if isinstance(arrays.attention, PagedMetadata):
            for row, length in enumerate(arrays.context_lens):
                blocks = -(-int(length) // self.block_size)
                np.testing.assert_array_equal(
                    found["block_tables"][row, :blocks],
                    arrays.attention.block_tables[row, :blocks],
                )
        sampled: list[int] = self.bench.model.execute(arrays)
        ops.record_samples(
            self.context, rows, load(self.context, sampled, "i32"),
            operands.tensors["context_lens"], operands.tensors["draw_index"], self.rows.state,
        )  # fmt: skip
        return sampled

    def run_arrays(self, built: ArrayInput, arrays: StepInput) -> list[int]:
        check_same(built.arrays, arrays)
        if built.token_rows.size:
            ids = load(self.context, arrays.input_ids, "i32")
            rows = load(self.context, built.token_rows, "i32")
            ops.fill_sampled(self.context, self.rows.tensors["last_token"], rows, ids)
            np.testing.assert_array_equal(fetch(ids), self.filled_in(arrays))
        else:
            assert arrays.sampled_rows.size == 0
        sampled: list[int] = self.bench.model.execute(arrays)
        if arrays.sampling is not None:
            ops.record_samples(
                self.context,
                load(self.context, built.sample_rows, "i32"),
                load(self.context, sampled, "i32"),
                load(self.context, built.sample_lens, "i32"),
                load(self.context, arrays.sampling.draw_index, "i64"),
                self.rows.state,
            )
        return sampled

    def check_history(
        self, step: ScheduledStep, arrays: StepInput, rows: np.ndarray, lens: np.ndarray
    ) -> None:
        """Penalties look at the tokens of their sequence, those in flight included."""
        newest = self.filled_in(arrays)[arrays.logits_indices]
        asked = []
        for item, end in zip(step.sequences, step.row_ptr[1:].tolist(), strict=True):
            asked += [Row()] * item.num_prompt_rows
            if not item.samples:
                continue
            sequence, row, length = item.sequence, rows[end - 1], item.start + item.num_tokens
            assert lens[end - 1] == length
            if not sequence.params.has_penalty:
                asked.append(Row())
                continue
            tokens = [*sequence.token_ids[: length - 1], int(newest[end - 1])]
            border = sequence.num_prompt_tokens
            held = self.rows.fetch()
            assert held["tokens"][row, :length].tolist() == tokens
            assert held["prompt_len"][row] == border
            history = dict.fromkeys(tokens, 0) | Counter(tokens[border:])
            asked.append(replace(PENALIZED, history=history))
        self.sample_alike(asked, rows, lens)

    def sample_alike(self, asked: list[Row], rows: np.ndarray, lens: np.ndarray) -> None:
        """By the tokens in the rows, and by those that the history of each row says."""
        context = self.context
        by_rows = sampling_tensors(context, [replace(one, history={}) for one in asked])
        by_rows |= {
            "history_rows": load(context, rows, "i32"),
            "history_lens": load(context, lens, "i32"),
            "history_prompts": self.rows.tensors["prompt_len"],
            "history_tokens": self.rows.tensors["tokens"],
        }
        size = (len(asked), VOCAB)
        logits = np.random.default_rng(lens).standard_normal(size).astype(np.float32)
        token_ids = poisoned(context, (len(asked),), "i32")
        ops.sample(
            context,
            load(context, logits, "f32"),
            _C.SamplingInputs(**by_rows),
            _C.SamplingOutputs(token_ids=token_ids),
        )
        context.synchronize()
        expected = sample(context, logits, asked).token_ids
        np.testing.assert_array_equal(fetch(token_ids), expected)

    def filled_in(self, arrays: StepInput) -> np.ndarray:
        ids = arrays.input_ids.copy()
        if arrays.sampled_rows.size:
            pending = arrays.sampled_rows >= 0
            ids[pending] = self.bench.model.sampled[arrays.sampled_rows[pending]]
        return ids


def check_same(found: Any, expected: Any) -> None:
    """Arrays in data classes, or in mappings."""
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    elif isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            check_same(found[name], values)
    elif is_dataclass(expected):
        for part in fields(expected):
            check_same(getattr(found, part.name), getattr(expected, part.name))
    else:
        assert found == expected


class Traffic:
    """Sequences that come, end, are cancelled, fail and give up memory, one or two steps ahead."""

    def __init__(self, device: Device, data: st.DataObject) -> None:
        self.device = device
        self.bench = device.bench
        self.data = data
        self.sequences: list[Sequence] = []
        self.in_flight: list[tuple[ScheduledStep, list[int]]] = []

    def draw(self, strategy: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(strategy)

    def add(self) -> None:
        seq_id = len(self.sequences)
        params = SamplingParams(
            temperature=self.draw(st.sampled_from([0.0, 0.5, 1.0])),
            top_k=self.draw(st.integers(0, 9)),
            min_tokens=self.draw(st.sampled_from([0, 0, 2])),
            max_tokens=None,
            ignore_eos=self.draw(st.booleans()),
            **self.draw(st.sampled_from([{}, *({name: PENALTIES[name]} for name in PENALTIES)])),
        )
        prompt = self.draw(st.lists(st.integers(0, 3), min_size=1, max_size=20))
        self.sequences.append(
            self.bench.add(
                seq_id, prompt, max_tokens=self.draw(st.integers(1, 24)), params=params,
                priority=self.draw(st.integers(0, 1)),
                prompt_logprobs=self.draw(st.integers(0, 5)) == 0,
            )
        )  # fmt: skip

    def start(self) -> None:
        step = self.bench.scheduler.schedule()
        if step is None:
            return
        if self.draw(st.integers(0, 15)) == 0:  # before anything has run
            self.device.inputs.build(step)
            self.device.inputs.forget(step)
            if self.in_flight:  # it has gone on from there
                self.finish()
            self.bench.model.fail(build_arrays_of_nothing(step))
            self.bench.scheduler.rollback(step)
            return
        self.in_flight.append((step, self.device.run(step)))

    def finish(self) -> None:
        step, sampled = self.in_flight.pop(0)
        self.bench.scheduler.update(step, output_of(step, *sampled))

    def go_on(self) -> None:
        if not self.in_flight:
            self.start()
            return
        if self.in_flight[0][0].lets_the_next_run and len(self.in_flight) == 1:
            self.start()
        if self.in_flight:
            self.finish()


def build_arrays_of_nothing(step: ScheduledStep) -> StepInput:
    """Of a step that failed before it wrote anything."""
    none = np.empty(0, dtype=np.int32)
    return StepInput(none, none, none, none, none, none, PagedMetadata(none, 1), None)


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("kv_layout", ["block", "slot"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_rows_say_what_the_arrays_say(device: str, kv_layout: str, data: st.DataObject) -> None:
    bench = Bench(kv_layout, capacity=CAPACITY, budget=8, seqs=SEQS)
    runs = Device(Context(device), bench, slot=kv_layout == "slot")
    traffic = Traffic(runs, data)
    for _ in range(data.draw(st.integers(1, 40))):
        if len(traffic.sequences) < 10 and data.draw(st.integers(0, 2)) == 0:
            traffic.add()
        if traffic.sequences and data.draw(st.integers(0, 12)) == 0:
            bench.scheduler.abort(data.draw(st.sampled_from(traffic.sequences)).seq_id)
        traffic.go_on()
    while traffic.in_flight or bench.scheduler.has_work:
        traffic.go_on()
    assert bench.kv.stats().used == 0


def run_alone(device: str, **params: Any) -> tuple[Device, list[DecodeInput | ArrayInput]]:
    """The inputs of every step of one text of ten tokens."""
    bench = Bench(capacity=CAPACITY, seqs=SEQS)
    runs = Device(Context(device), bench, slot=False)
    stated = SamplingParams(max_tokens=None, ignore_eos=True, **params)
    bench.add(0, [1, 2, 3], max_tokens=10, params=stated)
    built = []
    while bench.scheduler.has_work:
        step = bench.schedule()
        arrays = build_step_input(step, bench.kv)
        built.append(runs.inputs.build(step))
        bench.scheduler.update(step, output_of(step, *bench.model.execute(arrays)))
    return runs, built


def test_a_decode_sends_nothing_but_its_rows(device: str) -> None:
    _, (first, *decodes) = run_alone(device)
    assert isinstance(first, ArrayInput)
    assert first.changes is not None
    assert len(decodes) == 9
    for number, built in enumerate(decodes):
        assert isinstance(built, DecodeInput)
        assert built.sampling is None
        # The first brings the table; later ones a block when one was appended.
        position = 3 + number
        appended = number == 0 or position % BLOCK_SIZE == 0
        assert (built.changes is not None) == appended
        if built.changes is not None:
            assert built.changes.rows.size == 0
            assert built.changes.block_indices[-1] == position // BLOCK_SIZE


@pytest.mark.parametrize(
    ("params", "with_lists"),
    [
        (PENALTIES, 0),
        ({"logit_bias": {2: 1.0}}, 9),
        ({"logprobs": 1}, 9),
        ({"min_tokens": 4}, 3),  # the first of the ten comes with the prompt
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.5, "min_p": 0.1}, 0),
    ],
)
def test_what_a_row_lacks_is_sent(device: str, params: dict[str, Any], with_lists: int) -> None:
    _, (_, *decodes) = run_alone(device, **params)
    sampling = [built.sampling for built in decodes if isinstance(built, DecodeInput)]
    assert len(sampling) == 9
    assert [batch is not None for batch in sampling] == [True] * with_lists + [False] * (
        9 - with_lists
    )


@pytest.mark.parametrize("params", [{}, *({name: value} for name, value in PENALTIES.items())])
def test_tokens_are_sent_once_to_those_that_have_a_penalty(
    device: str, params: dict[str, float]
) -> None:
    _, built = run_alone(device, **params)
    sent = [one.changes.tokens.tolist() for one in built if one.changes is not None]
    assert sent[0] == ([1, 2, 3] if params else [])
    assert len(sent) > 1
    assert not any(sent[1:])


def test_a_row_cannot_begin_with_a_token_that_nobody_knows() -> None:
    bench = Bench(seqs=SEQS)
    inputs = StepInputs(bench.kv, num_rows=SEQS, has_tables=True)
    bench.add(0, [1, 2])
    first, second = bench.schedule(), bench.schedule()
    inputs.build(first)
    inputs.forget(first)
    with pytest.raises(RuntimeError, match="sequence 0 begins a row at position 2, whose token is"):
        inputs.build(second)


def test_a_sequence_that_comes_back_on_other_blocks_begins_its_row_anew() -> None:
    """At the very position it had come to: what it computed is cached in another's blocks."""
    bench = Bench(seqs=SEQS)
    inputs = StepInputs(bench.kv, num_rows=SEQS, has_tables=True)
    prompt = list(range(2 * BLOCK_SIZE))
    other, sequence = (bench.add(seq_id, prompt) for seq_id in (0, 1))
    for member in (other, sequence):
        bench.kv.begin(member.seq_id, prompt, max_cached=len(prompt) - 1, is_first=True)
        bench.kv.grow(member.seq_id, len(prompt))
    last = range(len(prompt) - 1, len(prompt))
    items = [ScheduledSequence(member, 0, len(prompt), last) for member in (other, sequence)]
    inputs.build(ScheduledStep(tuple(items)))
    for member in (other, sequence):
        bench.kv.commit(member.seq_id, prompt, len(prompt))
    sequence.token_ids.append(7)
    bench.kv.free(sequence.seq_id)
    tokens = sequence.token_ids
    cached = bench.kv.begin(sequence.seq_id, tokens, max_cached=len(prompt), is_first=False)
    assert cached == len(prompt)
    bench.kv.grow(sequence.seq_id, len(tokens))
    item = ScheduledSequence(sequence, cached, 1, range(cached, len(tokens)))
    built = inputs.build(ScheduledStep((item,)))
    assert built.changes is not None
    assert built.changes.last_token.tolist() == [7]
    assert built.changes.context_len.tolist() == [len(prompt)]
    blocks = bench.kv.block_table(sequence.seq_id).values.tolist()
    assert built.changes.block_ids.tolist() == blocks
    assert blocks[:2] == bench.kv.block_table(other.seq_id).values[:2].tolist()
