"""A step that runs while the host goes on gives the answers of one that is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest

from stagegate import EngineConfig, SamplingParams
from stagegate.build import build_engine
from stagegate.core.llm_engine import LLMEngine
from stagegate.core.request import Request
from stagegate.errors import ArgumentError, DeviceLostError
from stagegate.execution.executor import PendingStep
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.execution.worker import Worker
from stagegate.models.registry import load_model_config
from stagegate.outputs import RequestOutput
from stagegate.structured.grammar import Grammar
from suites.offline.soak_traffic import draw_jobs

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PENALIZED = replace(GREEDY, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2)
FORM = replace(GREEDY, grammar=Grammar.regex("[a-z ]{30}"))


class BesideWorker(Worker):
    """Computes a step when its result is asked for, as a device that is slower than the host.

    before_submit, before_wait: called with how many steps were submitted.
    """

    beside = True

    def __init__(self, config: EngineConfig) -> None:
        model = load_model_config(config.model)
        super().__init__(config, model, model.dtype)
        self.submitted = 0
        self.before_submit: Callable[[int], None] = lambda number: None
        self.before_wait: Callable[[int], None] = lambda number: None

    @property
    def overlaps(self) -> bool:
        return self.beside

    def submit(self, step: ScheduledStep) -> PendingStep:  # type: ignore[override]
        self.submitted += 1
        number = self.submitted
        self.before_submit(number)
        built, launch, hook = self.build(step), self.launch, self.before_wait

        class Later:
            def wait(self) -> StepOutput:
                output = launch(built, step.row_ptr).wait()
                hook(number)
                return output

        return Later()


@dataclass(frozen=True)
class Bench:
    engine: LLMEngine
    worker: BesideWorker

    def finish(self) -> dict[str, Request]:
        """Step until no request is left; those that ended, by id."""
        ended: dict[str, Request] = {}
        while self.engine.unfinished_requests:
            stepped = self.engine.step()
            assert len({request.request_id for request in stepped}) == len(stepped)
            for request in stepped:
                if request.finished:
                    ended[request.request_id] = request
        return ended


def start(model_path: Path, kv_layout: str, num_threads: int, *, capacity: int = 1024) -> Bench:
    config = EngineConfig(
        model_path, kv_layout=kv_layout, kv_capacity_tokens=capacity, max_num_batched_tokens=96,
        max_num_seqs=32, num_threads=num_threads,
    )  # fmt: skip
    worker = BesideWorker(config)
    return Bench(build_engine(config, executor=worker), worker)


@pytest.fixture
def bench(model_path: Path, kv_layout: str, num_threads: int) -> Bench:
    return start(model_path, kv_layout, num_threads)


def answers(bench: Bench, count: int) -> list[RequestOutput]:
    """Of mixed requests, a new one every other step."""
    jobs = list(islice(draw_jobs(bench.engine.model.decoder.vocab_size, seed=3), count))
    order: list[str] = []
    ended: dict[str, Request] = {}
    while jobs or bench.engine.unfinished_requests:
        if jobs:
            job = jobs.pop(0)
            order.append(bench.engine.add_request(job.prompt, job.params))
        for _ in range(2):
            for request in bench.engine.step():
                if request.finished:
                    ended[request.request_id] = request
    return [ended[request_id].output() for request_id in order]


@pytest.mark.tiny_model  # about schedules, and a large model takes minutes for as many steps
def test_the_answers_are_the_same(model_path: Path, num_threads: int) -> None:
    """Stop strings, forms, several answers, log-probabilities, and room for a few at a time."""
    found = []
    for beside in (False, True):
        bench = start(model_path, "block", num_threads)
        bench.worker.beside = beside
        found.append(answers(bench, count=80))
        assert bench.engine.num_preemptions > 0
        assert bench.engine.kv_stats().used == 0
    for waited, overlapped in zip(*found, strict=True):
        assert overlapped.outputs == waited.outputs
        assert overlapped.prompt_logprobs == waited.prompt_logprobs
        # A prompt may be let in a step later, and find more or less of itself in the cache.
        assert overlapped.usage._replace(cached_tokens=0) == waited.usage._replace(cached_tokens=0)


def test_a_stop_string_ends_the_text_though_a_token_more_was_computed(bench: Bench) -> None:
    engine = bench.engine
    whole = bench.engine.add_request("Alice was", GREEDY)
    text = bench.finish()[whole].output().outputs[0].text
    stop = text[len(text) // 2 :][:3]
    stopped = engine.add_request(
        "Alice was", SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop=[stop])
    )
    [output] = bench.finish()[stopped].output().outputs
    assert output.text == text[: text.index(stop)]
    assert output.finish_reason == "stop"
    assert len(output.token_ids) < 12
    engine.step()  # the token that nobody wants
    assert engine.kv_stats().used == 0


def test_the_next_step_runs_before_tokens_are_text(bench: Bench) -> None:
    request_id = bench.engine.add_request("Alice was", GREEDY)
    assert bench.engine.step() == []
    assert bench.worker.submitted == 1
    [request] = bench.engine.step()
    assert (request.request_id, bench.worker.submitted) == (request_id, 2)
    assert len(request.output().outputs[0].token_ids) == 1


@pytest.mark.parametrize("params", [GREEDY, PENALIZED], ids=["greedy", "penalties"])
def test_a_step_is_queued_behind_the_one_that_runs(bench: Bench, params: SamplingParams) -> None:
    submitted: list[int] = []
    bench.worker.before_wait = lambda number: submitted.append(bench.worker.submitted)
    request_id = bench.engine.add_request("Alice was", params)
    assert len(bench.finish()[request_id].output().outputs[0].token_ids) == 12
    # All but the last, whose token is known to be the last.
    assert submitted == [*range(2, 13), 12]


def test_penalties_look_at_tokens_that_are_in_flight(bench: Bench) -> None:
    """Twelve tokens, all of them different from each other and from those of the prompt."""
    found = []
    for beside in (False, True):
        bench.worker.beside = beside
        prompt = bench.engine.tokenizer.encode("Alice was")
        ended = bench.engine.add_request(prompt, replace(GREEDY, repetition_penalty=100.0))
        tokens = bench.finish()[ended].output().outputs[0].token_ids
        assert len({*prompt, *tokens}) == len(set(prompt)) + 12
        found.append(tokens)
    assert found[0] == found[1]


def test_what_has_to_see_its_tokens_is_waited_for(bench: Bench) -> None:
    pytest.importorskip("llguidance")
    submitted: list[int] = []
    bench.worker.before_wait = lambda number: submitted.append(bench.worker.submitted)
    bench.engine.add_request("Alice was", FORM)
    bench.finish()
    assert len(submitted) > 4
    assert submitted == list(range(1, len(submitted) + 1))


def test_an_end_token_leaves_nothing_behind(bench: Bench) -> None:
    """The token after it was in flight when it became known."""
    engine = bench.engine
    whole = engine.add_request("Alice was", GREEDY)
    tokens = bench.finish()[whole].output().outputs[0].token_ids
    end = next(token for token in tokens[4:] if token not in tokens[:4])
    count = tokens.index(end) + 1
    bench.worker.submitted = 0
    ended = engine.add_request("Alice was", replace(GREEDY, stop_token_ids=(end,)))
    output = bench.finish()[ended].output()
    assert output.outputs[0].token_ids == tokens[:count]
    assert output.outputs[0].stop_reason == end
    assert output.usage.completion_tokens == count
    assert bench.worker.submitted == count + 1
    assert engine.kv_stats().used == 0


def test_a_cancel_while_a_step_runs(bench: Bench) -> None:
    params = SamplingParams(temperature=0, max_tokens=12, prompt_logprobs=0, ignore_eos=True)
    cancelled = bench.engine.add_request("The Queen of", params)
    kept = bench.engine.add_request("Alice was", GREEDY)
    bench.engine.step()
    assert bench.engine.abort_request(cancelled) is not None
    ended = bench.finish()
    assert ended.keys() == {kept}
    assert len(ended[kept].output().outputs[0].token_ids) == 12
    assert bench.engine.abort_request(kept) is None
    assert bench.engine.kv_stats().used == 0
    # A step that nobody waits for may be left; the next request is served after it.
    again = bench.engine.add_request("Alice was", GREEDY)
    assert bench.finish()[again].output().outputs == ended[kept].output().outputs


@pytest.mark.parametrize("moment", ["before_submit", "before_wait"])
def test_a_step_that_fails_ends_its_requests_alone(bench: Bench, moment: str) -> None:
    def fail(number: int) -> None:
        if number == 4:
            msg = "planted"
            raise ArgumentError(msg)

    setattr(bench.worker, moment, fail)
    failing = bench.engine.add_request("Alice was", GREEDY)
    for _ in range(3):
        bench.engine.step()
    queued = bench.engine.add_request("The Queen", GREEDY)
    ended = bench.finish()
    assert isinstance(ended[failing].error, ArgumentError)
    assert ended[failing].output().outputs[0].finish_reason == "error"
    # What had come before it is whole.
    output = ended[failing].output().outputs[0]
    assert len(output.token_ids) == 3
    assert output.text
    if ended[queued].error is None:
        assert len(ended[queued].output().outputs[0].token_ids) == 12
    served = bench.engine.add_request("Alice was", GREEDY)
    assert bench.finish()[served].error is None
    assert bench.engine.kv_stats().used == 0


@pytest.mark.parametrize("moment", ["before_submit", "before_wait"])
def test_a_lost_device_ends_the_engine(bench: Bench, moment: str) -> None:
    """So that whoever watches its health sees it, and starts it anew."""

    def fail(number: int) -> None:
        if number >= 3:
            msg = "planted"
            raise DeviceLostError(msg)

    setattr(bench.worker, moment, fail)
    for _ in range(2):
        request_id = bench.engine.add_request("Alice was", GREEDY)
        with pytest.raises(DeviceLostError, match="planted"):
            bench.finish()
        bench.engine.abort_request(request_id)
        assert not bench.engine.unfinished_requests


@pytest.mark.parametrize("moment", ["before_submit", "before_wait"])
@pytest.mark.parametrize("needs_its_tokens", [False, True])
def test_an_interrupt_ends_the_requests_of_its_step_alone(
    bench: Bench, moment: str, needs_its_tokens: bool
) -> None:
    def interrupt(number: int) -> None:
        if number == 4:
            raise KeyboardInterrupt

    if needs_its_tokens:
        pytest.importorskip("llguidance")
    params = FORM if needs_its_tokens else GREEDY
    whole = bench.engine.add_request("Alice was", params)
    tokens = bench.finish()[whole].output().outputs[0].token_ids
    bench.worker.submitted = 0
    setattr(bench.worker, moment, interrupt)
    request = bench.engine.make_request("Alice was", params)
    bench.engine.submit(request)
    with pytest.raises(KeyboardInterrupt):
        bench.finish()
    [output] = request.output().outputs
    assert (output.finish_reason, output.token_ids) == ("error", tokens[:3])
    assert output.text
    assert "interrupted" in str(request.error)
    # What was not in that step goes on.
    assert not bench.engine.unfinished_requests
    served = bench.engine.add_request("Alice was", params)
    assert bench.finish()[served].output().outputs[0].token_ids == tokens
    assert bench.engine.kv_stats().used == 0


def test_an_interrupt_while_the_step_behind_has_failed(bench: Bench) -> None:
    def fail(number: int) -> None:
        if number == 4:
            msg = "planted"
            raise ArgumentError(msg)

    def interrupt(number: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    bench.worker.before_submit, bench.worker.before_wait = fail, interrupt
    bench.engine.add_request("Alice was", GREEDY)
    with pytest.raises(KeyboardInterrupt):
        bench.finish()
    bench.worker.before_submit = bench.worker.before_wait = lambda number: None
    served = bench.engine.add_request("Alice was", GREEDY)
    assert len(bench.finish()[served].output().outputs[0].token_ids) == 12
    assert bench.engine.kv_stats().used == 0
