"""Who runs in the next step, and with how many tokens: one step at a time."""

from __future__ import annotations

import pytest

from stagegate.core.sequence import SequenceStatus
from stagegate.errors import CapacityError
from stagegate.sampling import SamplingParams
from suites.engine.scheduler_bench import BLOCK_SIZE, KV_LAYOUTS, Bench, ids, next_token


@pytest.fixture(params=KV_LAYOUTS)
def kv_layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_prompts_are_prefilled_in_chunks_beside_decodes(kv_layout: str) -> None:
    bench = Bench(kv_layout, budget=6)
    first = bench.add(1, [1, 2], max_tokens=6)
    second = bench.add(2, list(range(10, 20)), max_tokens=2)
    shapes = [
        [(s.sequence.seq_id, s.start, s.num_tokens, s.samples) for s in bench.step().sequences]
        for _ in range(3)
    ]
    assert shapes == [
        [(1, 0, 2, True), (2, 0, 4, False)],
        [(1, 2, 1, True), (2, 4, 5, False)],
        [(1, 3, 1, True), (2, 9, 1, True)],
    ]
    bench.drain()
    bench.check_alone(first)
    bench.check_alone(second)


def test_no_more_sequences_than_allowed(kv_layout: str) -> None:
    bench = Bench(kv_layout, seqs=2)
    for seq_id in range(5):
        bench.add(seq_id, [seq_id, 1])
    assert ids(bench.step()) == [0, 1]
    assert (bench.scheduler.num_running, bench.scheduler.num_waiting) == (2, 3)
    bench.drain()


def test_lower_priority_value_goes_first_and_ties_by_arrival(kv_layout: str) -> None:
    bench = Bench(kv_layout, seqs=1)
    for seq_id, priority in enumerate([1, 0, 1, -3, 0]):
        bench.add(seq_id, [1], max_tokens=1, priority=priority)
    order = []
    while bench.scheduler.has_work:
        order += ids(bench.step())
    assert order == [3, 1, 4, 0, 2]


def test_the_newest_is_preempted_and_comes_back_first(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=12, seqs=2)
    old = bench.add(0, [1, 2, 3, 4], max_tokens=8)
    young = bench.add(1, [5, 6, 7, 8], max_tokens=8)
    late = bench.add(2, [9, 9], max_tokens=1)
    while bench.scheduler.has_work:
        bench.step()
        assert old.status is not SequenceStatus.PREEMPTED
        # The one that lost its memory is ahead of the one that never had any.
        assert young.status is not SequenceStatus.PREEMPTED or late.status is SequenceStatus.WAITING
    assert bench.scheduler.num_preemptions > 0
    for sequence in (old, young, late):
        bench.check_alone(sequence)


def test_a_less_urgent_sequence_is_the_victim_of_a_newer_one(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=12)
    relaxed = bench.add(0, [1, 2, 3, 4], max_tokens=8, priority=1)
    urgent = bench.add(1, [5, 6, 7, 8], max_tokens=8)
    while not urgent.is_finished:
        bench.step()
        assert urgent.status is not SequenceStatus.PREEMPTED
    assert bench.scheduler.num_preemptions > 0
    bench.drain()
    bench.check_alone(relaxed)


def test_a_preempted_sequence_continues_from_its_cached_blocks() -> None:
    bench = Bench("block", capacity=16)
    bench.add(0, [1, 2, 3, 4], max_tokens=6)
    victim = bench.add(1, [5, 6, 7, 8, 9, 9, 9], max_tokens=9)
    while victim.status is not SequenceStatus.PREEMPTED:
        bench.step()
    generated = victim.num_output_tokens
    assert generated > 0
    while victim.status is SequenceStatus.PREEMPTED:
        step = bench.step()
    resumed = step.sequences[ids(step).index(1)]
    assert 0 < resumed.start < victim.num_prompt_tokens + generated
    assert victim.num_cached_tokens == 0
    stats = bench.kv.stats()
    assert (stats.prefix_hits, stats.prefix_misses) == (0, 2)
    bench.drain()
    bench.check_alone(victim)


def test_cached_tokens_are_those_of_the_first_admission() -> None:
    bench = Bench("block")
    prompt = [1, 2, 3, 4, 5]
    bench.add(0, prompt)
    bench.drain()
    warm = bench.add(1, prompt)
    step = bench.step()
    assert (step.sequences[0].start, step.num_tokens) == (4, 1)
    assert warm.num_cached_tokens == 4
    bench.drain()
    bench.check_alone(warm)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5])
def test_every_block_that_a_decode_fills_is_shared(max_tokens: int) -> None:
    bench = Bench("block")
    first = bench.add(0, [1, 2, 3], max_tokens=max_tokens)
    bench.drain()
    # The last token was sampled, and never computed.
    computed = first.num_tokens - 1
    bench.add(1, [*first.token_ids, 9, 9])
    step = bench.step()
    assert step.sequences[0].start == computed // BLOCK_SIZE * BLOCK_SIZE


def test_prompt_logprobs_compute_every_position() -> None:
    bench = Bench("block")
    prompt = [1, 2, 3, 4, 5]
    bench.add(0, prompt)
    bench.drain()
    with_prompt_logprobs = bench.add(1, prompt, prompt_logprobs=True)
    step = bench.step()
    assert (step.sequences[0].start, step.num_tokens) == (0, 5)
    assert step.sequences[0].num_prompt_rows == 4
    assert with_prompt_logprobs.num_cached_tokens == 0
    bench.drain()
    bench.check_alone(with_prompt_logprobs)


def test_prompt_logprobs_share_the_rows_of_a_step(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=256, budget=128, seqs=3)
    assert bench.max_rows == 32
    decode = bench.add(0, [1, 2], max_tokens=9)
    bench.step()
    long = bench.add(1, [token % 7 for token in range(50)], prompt_logprobs=True)
    plain = bench.add(2, [3] * 40)
    shapes = [
        [
            (s.sequence.seq_id, s.start, s.num_tokens, s.num_prompt_rows)
            for s in bench.step().sequences
        ]
        for _ in range(3)
    ]
    # The decode takes a row, the prompt all others, so that nobody else gets in.
    assert shapes == [
        [(0, 2, 1, 0), (1, 0, 31, 31)],
        [(0, 3, 1, 0), (1, 31, 19, 18), (2, 0, 40, 0)],
        [(0, 4, 1, 0), (1, 50, 1, 0), (2, 40, 1, 0)],
    ]
    bench.drain()
    for sequence in (decode, long, plain):
        bench.check_alone(sequence)


def test_a_prompt_that_has_begun_waits_for_a_row_with_its_last_token(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=256, budget=64, seqs=3)
    urgent = bench.add(0, [token % 5 for token in range(80)], prompt_logprobs=True)
    plain = bench.add(1, [4] * 40)
    bench.step()
    late = bench.add(2, [5] * 9, priority=-1)
    for _ in range(4):
        bench.step()
    bench.drain()
    for sequence in (urgent, plain, late):
        bench.check_alone(sequence)


def test_outgrowing_the_cache_ends_with_length(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=8)
    sequence = bench.add(0, [1, 2, 3], max_tokens=100)
    bench.drain()
    assert sequence.status is SequenceStatus.FINISHED_LENGTH
    assert sequence.num_tokens == 9  # the last one needs no room


def test_a_prompt_that_never_fits_is_refused_with_the_numbers(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=8)
    with pytest.raises(CapacityError, match=r"has 8 tokens .* holds 8;") as e:
        bench.add(0, [1] * 8)
    assert e.value.parameter == "prompt"
    assert not bench.scheduler.has_work
    bench.add(1, [1] * 7)
    bench.drain()


def test_stop_token_is_kept_and_named(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    token = next_token([1, 2])
    params = SamplingParams(max_tokens=None, stop_token_ids=(token,), ignore_eos=True)
    sequence = bench.add(0, [1, 2], params=params)
    bench.drain()
    assert sequence.output_token_ids == [token]
    assert sequence.status is SequenceStatus.FINISHED_STOPPED
    assert sequence.stop_reason == token


def test_abort_frees_running_and_waiting_sequences(kv_layout: str) -> None:
    bench = Bench(kv_layout, seqs=1)
    running, waiting = bench.add(0, [1, 2]), bench.add(1, [3, 4])
    bench.step()
    assert bench.scheduler.abort(0)
    assert bench.scheduler.abort(1)
    assert not bench.scheduler.abort(0)
    assert not bench.scheduler.has_work
    assert bench.kv.stats().used == 0
    assert running.status is waiting.status is SequenceStatus.FINISHED_ABORTED


def test_abort_while_the_step_runs_drops_its_token(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    gone, stays = bench.add(0, [1, 2]), bench.add(1, [3, 4])
    step = bench.schedule()
    tokens = bench.execute(step)
    bench.scheduler.abort(0)
    assert bench.update(step, tokens) == [1]
    assert gone.output_token_ids == []
    bench.drain()
    bench.check_alone(stays)


def test_finish_from_outside_carries_the_reason(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    sequence = bench.add(0, [1, 2])
    bench.step()
    assert bench.scheduler.finish(0, SequenceStatus.FINISHED_STOPPED, "END")
    assert (sequence.status, sequence.stop_reason) == (SequenceStatus.FINISHED_STOPPED, "END")
    assert not bench.scheduler.has_work


def test_a_failed_step_ends_its_sequences_only(kv_layout: str) -> None:
    bench = Bench(kv_layout, budget=4, seqs=2)
    failed, queued = bench.add(0, [1, 2, 3]), bench.add(1, [1, 2, 3, 4])
    bench.scheduler.abort(1)
    step = bench.schedule()
    bench.fail(step)
    assert bench.scheduler.rollback(step) == [failed]
    assert failed.status is SequenceStatus.FINISHED_ERROR
    assert queued.status is SequenceStatus.FINISHED_ABORTED
    assert bench.kv.stats().used == 0
    again = bench.add(2, [1, 2, 3])
    bench.drain()
    assert again.num_cached_tokens == 0
    bench.check_alone(again)


def test_a_sequence_id_lives_once() -> None:
    bench = Bench()
    bench.add(0, [1])
    with pytest.raises(ValueError, match="sequence 0 is scheduled already"):
        bench.add(0, [1])
