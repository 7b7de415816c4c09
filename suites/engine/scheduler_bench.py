"""A scheduler with a cache, and a model that tells whether a sequence sees its own tokens."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from stagegate.config import EngineConfig
from stagegate.core.scheduler import Scheduler
from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.execution.input_batch import StepInput
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.manager import KVManager
from stagegate.kv.prefix_cache import PrefixCache
from stagegate.kv.slot_manager import SlotManager
from stagegate.sampling import SamplingParams
from suites.engine.attention_rows import visible_slots
from suites.engine.fake_executor import FakeExecutor, FakeStep

BLOCK_SIZE = 2
VOCAB = 23
EOS = 5
STOP = 7
GARBAGE = VOCAB
KV_LAYOUTS = ("block", "csr", "slot")


def next_token(prefix: list[int]) -> int:
    return zlib.crc32(bytes(prefix)) % VOCAB


def generate_alone(sequence: Sequence, capacity: int) -> tuple[list[int], SequenceStatus]:
    """Output of a sequence without scheduler or cache; `sequence` gives prompt and limits only."""
    params = sequence.params
    tokens = sequence.token_ids[: sequence.num_prompt_tokens]
    output: list[int] = []
    while True:
        token = next_token(tokens + output)
        output.append(token)
        ends = token == EOS and not params.ignore_eos
        if (ends or token in params.stop_token_ids) and len(output) > params.min_tokens:
            return output, SequenceStatus.FINISHED_STOPPED
        if len(output) == sequence.max_tokens or len(tokens) + len(output) > capacity:
            return output, SequenceStatus.FINISHED_LENGTH


class PrefixModel:
    """Its next token depends on every token before, as read from the cache through the metadata.

    GARBAGE is what it samples where the cache does not hold these tokens.
    """

    def __init__(self, num_slots: int) -> None:
        self.tokens = np.full(num_slots, -1)
        self.positions = np.full(num_slots, -1)
        self.sampled = np.empty(0, dtype=np.int32)  # by the step before

    def execute(self, step: StepInput) -> list[int]:
        input_ids = step.input_ids.copy()
        if step.sampled_rows.size:
            pending = step.sampled_rows >= 0
            assert (input_ids[pending] == 0).all()
            input_ids[pending] = self.sampled[step.sampled_rows[pending]]
        self.tokens[step.slot_mapping] = input_ids
        self.positions[step.slot_mapping] = step.positions
        starts = step.context_lens - np.diff(step.cu_seqlens_q)
        rows = visible_slots(step.attention, starts.tolist(), step.context_lens.tolist())
        sampled: list[int] = []
        for position, slots in zip(step.positions, rows, strict=True):
            in_order = sorted(slots, key=lambda slot: self.positions[slot])
            prefix = self.tokens[in_order].tolist()
            whole = self.positions[in_order].tolist() == list(range(position + 1))
            sampled.append(next_token(prefix) if whole and GARBAGE not in prefix else GARBAGE)
        self.sampled = np.array([sampled[index] for index in step.logits_indices], dtype=np.int32)
        return self.sampled.tolist()

    def fail(self, step: StepInput) -> None:
        """Die half way, with garbage where the step was to write."""
        self.tokens[step.slot_mapping] = GARBAGE
        self.positions[step.slot_mapping] = 10**6
        self.sampled = np.full(len(step.logits_indices), GARBAGE, dtype=np.int32)


def make_kv(kv_layout: str, capacity: int) -> KVManager:
    if kv_layout == "slot":
        return SlotManager(capacity)
    return BlockManager(
        capacity,
        block_size=BLOCK_SIZE,
        attention_backend="csr" if kv_layout == "csr" else "native",
        prefix_cache=PrefixCache(BLOCK_SIZE),
    )


class Bench:
    """A scheduler with its cache and model."""

    def __init__(
        self, kv_layout: str = "block", *, capacity: int = 64, budget: int = 16, seqs: int = 8,
        max_tpot_ms: float | None = None,
    ) -> None:  # fmt: skip
        config = EngineConfig(
            model=Path("model"), max_num_batched_tokens=budget, max_num_seqs=seqs,
            max_tpot_ms=max_tpot_ms,
        )  # fmt: skip
        self.budget = budget
        self.max_num_seqs = config.max_num_seqs
        self.kv = make_kv(kv_layout, capacity)
        self.capacity = self.kv.capacity_tokens
        self.model = PrefixModel(self.kv.num_slots)
        self.max_rows = config.max_logits_rows
        self.scheduler = Scheduler(config, self.kv)
        self.executor = FakeExecutor(self.model.execute, overlaps=True)
        self.executor.allocate(self.kv)
        # What the logits of each position of a prompt say comes next, by sequence.
        self.scores: dict[int, list[int]] = {}

    def add(
        self, seq_id: int, prompt: list[int], *, max_tokens: int = 4, priority: int = 0,
        params: SamplingParams | None = None, prompt_logprobs: bool = False,
    ) -> Sequence:  # fmt: skip
        params = params or SamplingParams(max_tokens=None, ignore_eos=True)
        sequence = Sequence(
            seq_id,
            prompt,
            params,
            eos_token_ids=(EOS,),
            seed=seq_id,
            priority=priority,
            max_tokens=max_tokens,
            prompt_logprobs=prompt_logprobs,
        )
        self.scheduler.add(sequence)
        self.scores[seq_id] = []
        return sequence

    def step(self) -> ScheduledStep:
        step = self.schedule()
        self.update(step, self.execute(step))
        return step

    def schedule(self) -> ScheduledStep:
        step = self.scheduler.schedule()
        assert step is not None
        return step

    def submit(self, step: ScheduledStep) -> FakeStep:
        pending = self.executor.submit(step)
        assert len(pending.inputs.logits_indices) <= self.max_rows
        return pending

    def execute(self, step: ScheduledStep) -> StepOutput:
        return self.submit(step).wait()

    def fail(self, step: ScheduledStep) -> None:
        self.model.fail(self.submit(step).inputs)

    def update(self, step: ScheduledStep, output: StepOutput) -> list[int]:
        """Ids of the sequences that got a token."""
        first_logits = {item.sequence.seq_id: item.logits.start for item in step.sequences}
        gains = self.scheduler.update(step, output)
        for sequence, rows in gains.prompt_logprobs:
            scores = self.scores[sequence.seq_id]
            assert first_logits[sequence.seq_id] == len(scores)
            scores.extend(output.token_ids[list(rows)].tolist())
            assert GARBAGE not in scores
        for sequence, rows in gains.tokens:
            gained = output.token_ids[list(rows)].tolist()
            assert GARBAGE not in gained
            assert sequence.token_ids[-len(gained) :] == gained
        return [sequence.seq_id for sequence, _ in gains.tokens]

    def num_computed(self, sequence: Sequence) -> int:
        """Tokens of a running sequence in the cache when the steps in flight are done."""
        running = self.scheduler._running
        return int(running.num_computed[running.index(sequence)])

    def num_tokens(self, sequence: Sequence) -> int:
        """Tokens of a running sequence, those that steps in flight sample included."""
        running = self.scheduler._running
        return int(running.num_tokens[running.index(sequence)])

    def drain(self, limit: int = 500) -> int:
        for count in range(limit):
            if not self.scheduler.has_work:
                assert self.kv.stats().used == 0
                return count
            self.step()
        pytest.fail(f"still at work after {limit} steps")

    def check_alone(self, sequence: Sequence) -> None:
        expected = generate_alone(sequence, self.capacity)
        assert (sequence.output_token_ids, sequence.status) == expected
        self.check_scores(sequence)

    def check_scores(self, sequence: Sequence) -> None:
        """Every position of a prompt but its last gives logits once, when anybody asks for it."""
        prompt = sequence.token_ids[: sequence.num_prompt_tokens]
        expected = [next_token(prompt[: i + 1]) for i in range(len(prompt) - 1)]
        assert self.scores[sequence.seq_id] == (expected if sequence.prompt_logprobs else [])


def output_of(step: ScheduledStep, *token_ids: int) -> StepOutput:
    return StepOutput(step.row_ptr, np.array(token_ids, dtype=np.int32))


def ids(step: ScheduledStep) -> list[int]:
    return [scheduled.sequence.seq_id for scheduled in step.sequences]
