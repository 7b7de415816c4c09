"""One step is planned while another runs: with tokens that are not known, for as long as it may."""

from __future__ import annotations

import pytest

from stagegate.core.sequence import SequenceStatus
from stagegate.sampling import SamplingParams
from suites.engine.scheduler_bench import KV_LAYOUTS, Bench, ids, next_token, output_of


@pytest.fixture(params=KV_LAYOUTS)
def kv_layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_two_steps_are_in_flight_at_most_and_come_back_in_order() -> None:
    bench = Bench()
    bench.add(0, [1, 2])
    first, second = bench.schedule(), bench.schedule()
    with pytest.raises(RuntimeError, match="neither updated nor rolled back"):
        bench.scheduler.schedule()
    with pytest.raises(RuntimeError, match="not the first of the steps in flight"):
        bench.scheduler.update(second, output_of(second, 1))
    with pytest.raises(ValueError, match=r"wants \[1\] rows .* with 2 tokens"):
        bench.scheduler.update(first, output_of(first, 1, 2))
    bench.scheduler.update(first, output_of(first, 1))
    with pytest.raises(RuntimeError, match="not the first of the steps in flight"):
        bench.scheduler.update(first, output_of(first, 1))
    bench.scheduler.update(second, output_of(second, 1))


def test_a_step_goes_on_with_tokens_that_another_samples(kv_layout: str) -> None:
    bench = Bench(kv_layout, budget=6)
    first = bench.add(1, [1, 2], max_tokens=4)
    second = bench.add(2, list(range(10, 16)), max_tokens=3)
    shapes = []
    before = bench.schedule()
    sampled = bench.execute(before)
    while bench.scheduler.has_work:
        step = bench.scheduler.schedule()
        after = None if step is None else bench.execute(step)
        bench.update(before, sampled)
        shapes.append([(s.sequence.seq_id, s.start, s.sampled_row) for s in before.sequences])
        if step is not None and after is not None:
            before, sampled = step, after
    assert shapes == [
        [(1, 0, -1), (2, 0, -1)],
        [(1, 2, 0), (2, 4, -1)],
        [(1, 3, 0), (2, 6, 1)],
        [(1, 4, 0), (2, 7, 1)],
    ]
    bench.check_alone(first)
    bench.check_alone(second)


def test_what_ends_with_the_token_in_flight_has_no_other(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=8)
    limited = bench.add(0, [1, 2], max_tokens=1)
    outgrown = bench.add(1, [1, 2, 3], max_tokens=100)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert ids(ahead) == [1]
    ahead_tokens = bench.execute(ahead)
    assert bench.update(step, tokens) == [0, 1]
    bench.check_alone(limited)
    while not outgrown.is_finished:
        step, tokens = ahead, ahead_tokens
        following = bench.scheduler.schedule()
        if following is not None:
            ahead, ahead_tokens = following, bench.execute(following)
        bench.update(step, tokens)
    assert bench.scheduler.schedule() is None
    assert bench.scheduler.num_preemptions == 0
    bench.check_alone(outgrown)


def test_a_place_is_free_while_its_last_token_is_in_flight(kv_layout: str) -> None:
    bench = Bench(kv_layout, seqs=2)
    for seq_id in range(3):
        bench.add(seq_id, [seq_id, 1], max_tokens=1 + seq_id)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert (ids(step), ids(ahead)) == ([0, 1], [1, 2])
    ahead_tokens = bench.execute(ahead)
    bench.update(step, tokens)
    bench.update(ahead, ahead_tokens)
    bench.drain()


def test_what_ends_by_its_token_has_one_too_many_dropped(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    token = next_token([1, 2])
    params = SamplingParams(max_tokens=None, stop_token_ids=(token,), ignore_eos=True)
    sequence = bench.add(0, [1, 2], params=params)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    surplus = bench.execute(ahead)
    assert bench.update(step, tokens) == [0]
    assert bench.kv.stats().used == 0
    assert bench.update(ahead, surplus) == []
    assert sequence.output_token_ids == [token]
    assert sequence.stop_reason == token


def test_a_victim_waits_for_the_step_that_it_is_in(kv_layout: str) -> None:
    bench = Bench(kv_layout, capacity=8)
    old = bench.add(0, [1, 2, 3], max_tokens=6)
    victim = bench.add(1, [4, 5, 6], max_tokens=6)
    bench.step()
    step = bench.schedule()
    tokens = bench.execute(step)
    assert ids(step) == [0, 1]
    ahead = bench.schedule()
    assert ids(ahead) == [0]
    assert victim.status is SequenceStatus.PREEMPTED
    ahead_tokens = bench.execute(ahead)
    # Its token of the step that ran is its own all the same.
    assert bench.update(step, tokens) == [0, 1]
    assert victim.num_output_tokens == 2
    bench.update(ahead, ahead_tokens)
    bench.drain()
    bench.check_alone(old)
    bench.check_alone(victim)


def test_a_victim_that_would_fit_at_once_waits_too() -> None:
    """Its blocks are still in the cache, as another's: what is computed of it is not yet."""
    bench = Bench("block", capacity=12)
    old = bench.add(0, [1, 0, 1, 0, 1], max_tokens=7)
    victim = bench.add(1, [1, 0, 1, 0, 1], max_tokens=7)
    bench.step()
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert ids(ahead) == [0]
    assert victim.status is SequenceStatus.PREEMPTED
    ahead_tokens = bench.execute(ahead)
    bench.update(step, tokens)
    bench.update(ahead, ahead_tokens)
    bench.drain()
    bench.check_alone(old)
    bench.check_alone(victim)


def test_an_interrupt_of_planning_leaves_nothing_planned(
    kv_layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(kv_layout, seqs=1)
    running, waiting = bench.add(0, [1, 2, 3]), bench.add(1, [4])
    bench.step()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bench.scheduler, "_admit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.scheduler.schedule()
    bench.drain()
    bench.check_alone(running)
    bench.check_alone(waiting)


def test_a_failed_step_takes_its_sequences_out_of_the_one_behind_it(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    failed = bench.add(0, [1, 2, 3])
    step = bench.schedule()
    bench.fail(step)
    late = bench.add(1, [1, 2, 3, 4])
    ahead = bench.schedule()
    assert ids(ahead) == [0, 1]
    tokens = bench.execute(ahead)
    assert bench.scheduler.rollback(step) == [failed]
    assert bench.update(ahead, tokens) == [1]
    bench.drain()
    bench.check_alone(late)


def test_the_step_behind_one_that_runs_may_fail_alone(kv_layout: str) -> None:
    bench = Bench(kv_layout)
    failed = bench.add(0, [1, 2, 3])
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert bench.update(step, tokens) == [0]
    assert bench.scheduler.rollback(ahead) == [failed]
    assert failed.output_token_ids == tokens.token_ids.tolist()
    assert bench.kv.stats().used == 0
    with pytest.raises(RuntimeError, match="not one of the steps in flight"):
        bench.scheduler.rollback(ahead)
