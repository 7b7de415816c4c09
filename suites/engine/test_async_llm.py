"""The online entry: many coroutines, one thread, and nothing left when they have gone."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from stagegate import LLM, EngineConfig, SamplingParams, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.errors import EngineDeadError, InvalidRequestError, QueueFullError, StagegateError
from stagegate.outputs import RequestDelta
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, any_of

OPENINGS = ("Alice was", "Down the", "The Queen", "Oh", "I am", "The Mock Turtle sighed deeply")


@pytest.fixture(scope="module")
def engine_config(model_path: Path, device: str, kv_layout: str, num_threads: int) -> EngineConfig:
    return EngineConfig(
        model=model_path, device=device, dtype="f32", kv_layout=kv_layout, kv_capacity_tokens=1024,
        num_threads=num_threads, max_num_seqs=16, deterministic=True,
    )  # fmt: skip


@pytest.fixture
def llm(engine_config: EngineConfig) -> Iterator[AsyncLLM]:
    llm = AsyncLLM(build_engine(engine_config))
    llm.start()
    yield llm
    assert llm.stats().kv_used_tokens == 0
    llm.close()


def scripted(model: Path, act: Callable[[int], object], *, max_waiting: int = 1024) -> AsyncLLM:
    config = EngineConfig(model=model, kv_capacity_tokens=4096, max_num_seqs=2)
    executor = FakeExecutor(any_of(Tokenizer.load(model).encode(" the")), before_step=act)
    llm = AsyncLLM(build_engine(config, executor=executor), max_waiting=max_waiting)
    llm.start()
    return llm


def params(**fields: object) -> SamplingParams:
    return SamplingParams(**({"max_tokens": 12, "ignore_eos": True} | fields))  # type: ignore[arg-type]


async def collect(llm: AsyncLLM, prompt: str, chosen: SamplingParams) -> list[RequestDelta]:
    return [delta async for delta in llm.generate(prompt, chosen)]


def text_of(deltas: list[RequestDelta]) -> str:
    return "".join(choice.text for delta in deltas for choice in delta.choices)


def test_each_of_many_gets_what_it_gets_alone(llm: AsyncLLM, engine_config: EngineConfig) -> None:
    rng = random.Random(0)
    jobs = [
        (rng.choice(OPENINGS), params(seed=seed, max_tokens=rng.randrange(1, 40)))
        for seed in range(120)
    ]
    offline = LLM(
        engine_config.model, device=engine_config.device, dtype="f32",
        kv_layout=engine_config.kv_layout, kv_capacity_tokens=4096, deterministic=True,
    )  # fmt: skip
    expected = offline.generate([prompt for prompt, _ in jobs], [chosen for _, chosen in jobs])

    async def run(number: int) -> None:
        prompt, chosen = jobs[number]
        left = random.Random(number).random() < 0.25
        text, tokens = "", []
        async with aclosing(llm.generate(prompt, chosen)) as deltas:
            async for delta in deltas:
                text += text_of([delta])
                tokens += [token for choice in delta.choices for token in choice.token_ids]
                if left:
                    break
        wanted = expected[number].outputs[0]
        if left:
            assert wanted.text.startswith(text)
        else:
            assert (text, tokens) == (wanted.text, wanted.token_ids)

    async def all_of_them() -> None:
        await asyncio.gather(*map(run, range(len(jobs))))
        assert await llm.drain(10)

    asyncio.run(all_of_them())
    stats = llm.stats()
    assert (stats.running, stats.waiting, stats.kv_used_tokens) == (0, 0, 0)
    assert sum(stats.requests_total.values()) == len(jobs)


def test_a_consumer_that_is_busy_gets_what_it_missed_at_once(llm: AsyncLLM) -> None:
    async def run() -> list[RequestDelta]:
        deltas = []
        async with aclosing(llm.generate("Alice was", params(n=2, max_tokens=30))) as stream:
            async for delta in stream:
                deltas.append(delta)
                while llm.stats().running:
                    await asyncio.sleep(0.01)
        return deltas

    deltas = asyncio.run(run())
    assert len(deltas) <= 4
    assert deltas[-1].finished
    for index in (0, 1):
        of_one = [choice for delta in deltas for choice in delta.choices if choice.index == index]
        assert sum(len(choice.token_ids) for choice in of_one) == 30
        assert [choice.finish_reason for choice in of_one][-1] == "length"


def test_a_cancelled_task_frees_its_memory(llm: AsyncLLM) -> None:
    async def run() -> None:
        task = asyncio.create_task(collect(llm, "Oh", params(max_tokens=900)))
        while not llm.stats().running:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await llm.drain(10)

    asyncio.run(run())
    assert llm.stats().requests_total["abort"] == 1


def test_abort_ends_a_stream_with_what_it_has(llm: AsyncLLM) -> None:
    async def run() -> RequestDelta:
        stream = llm.generate("Oh", params(max_tokens=900), request_id="mine")
        async for delta in stream:
            if delta.finished:
                return delta
            await llm.abort("mine")
        raise AssertionError

    last = asyncio.run(run())
    assert [choice.finish_reason for choice in last.choices] == ["abort"]
    assert asyncio.run(llm.abort("mine")) is False


def test_coroutines_of_two_event_loops(llm: AsyncLLM) -> None:
    texts: list[str] = []

    def loop() -> None:
        texts.append(text_of(asyncio.run(collect(llm, "Down the", params(temperature=0)))))

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 2
    assert texts[0] == texts[1] != ""


def test_bad_requests_are_refused_and_the_loop_goes_on(llm: AsyncLLM) -> None:
    async def run() -> None:
        for prompt in ("", "a" * 100_000):
            with pytest.raises(InvalidRequestError):
                await collect(llm, prompt, params())
        first = asyncio.create_task(collect(llm, "Oh", params(max_tokens=50)))
        assert text_of(await collect(llm, "Oh", params())) != ""
        await first

    asyncio.run(run())


def test_a_failed_step_ends_its_requests_alone(model_path: Path) -> None:
    def act(step: int) -> None:
        if step == 3:
            msg = "no memory"
            raise StagegateError(msg)

    llm = scripted(model_path, act)
    [*_, last] = asyncio.run(collect(llm, "Oh", params()))
    assert [choice.finish_reason for choice in last.choices] == ["error"]
    assert str(last.error) == "no memory"
    assert llm.is_healthy(1.0)
    assert text_of(asyncio.run(collect(llm, "Oh", params()))) == " the" * 12
    llm.close()


def test_a_crash_fails_every_open_request_and_later_ones(model_path: Path) -> None:
    def act(step: int) -> None:
        if step == 4:
            msg = "a bug"
            raise ZeroDivisionError(msg)

    llm = scripted(model_path, act)

    async def run() -> list[object]:
        return await asyncio.gather(
            *(collect(llm, "Oh", params()) for _ in range(6)), return_exceptions=True
        )

    found = asyncio.run(run())
    assert all(isinstance(item, EngineDeadError) for item in found), found
    assert "a bug" in str(found[0])
    assert not llm.is_healthy(60)
    with pytest.raises(EngineDeadError, match="a bug"):
        asyncio.run(collect(llm, "Oh", params()))
    llm.close()


def test_a_full_queue_refuses_and_what_is_in_it_finishes(model_path: Path) -> None:
    held = threading.Event()
    llm = scripted(model_path, lambda step: held.wait(10) and None, max_waiting=3)

    async def run() -> tuple[int, int]:
        tasks = [asyncio.create_task(collect(llm, "Oh", params())) for _ in range(12)]
        while not all(task.done() for task in tasks[5:]):
            await asyncio.sleep(0.01)
        held.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [item for item in results if isinstance(item, QueueFullError)]
        texts = [text_of(item) for item in results if isinstance(item, list)]
        assert texts == [" the" * 12] * len(texts)
        return len(refused), len(texts)

    # Two run, three wait.
    assert asyncio.run(run()) == (7, 5)
    llm.close()


def test_drain_refuses_new_work_and_waits_for_the_old(model_path: Path) -> None:
    held = threading.Event()
    llm = scripted(model_path, lambda step: held.wait(10) and None)

    async def run() -> None:
        old = asyncio.create_task(collect(llm, "Oh", params()))
        await asyncio.sleep(0.05)
        assert not await llm.drain(0.05)
        with pytest.raises(EngineDeadError, match="shutting down"):
            await collect(llm, "Oh", params())
        held.set()
        assert await llm.drain(10)
        assert text_of(await old) == " the" * 12

    asyncio.run(run())
    llm.close()


def test_a_step_that_never_ends_is_no_health(model_path: Path) -> None:
    held = threading.Event()
    llm = scripted(model_path, lambda step: held.wait(10) and None)

    async def run() -> None:
        assert llm.is_healthy(0.01)  # idle is healthy
        task = asyncio.create_task(collect(llm, "Oh", params()))
        await asyncio.sleep(0.1)
        assert not llm.is_healthy(0.05)
        assert llm.is_healthy(60)
        held.set()
        await task

    asyncio.run(run())
    llm.close()


def test_close_ends_open_requests(model_path: Path) -> None:
    closing = threading.Event()

    def third_step_waits(step: int) -> None:
        if step == 3:
            assert closing.wait(30)

    llm = scripted(model_path, third_step_waits)

    def close() -> None:
        threading.Timer(0.1, closing.set).start()
        llm.close()

    async def run() -> RequestDelta:
        stream = llm.generate("Oh", params(max_tokens=1500))
        await anext(stream)
        await asyncio.to_thread(close)
        return [delta async for delta in stream][-1]

    assert [choice.finish_reason for choice in asyncio.run(run()).choices] == ["abort"]
    with pytest.raises(EngineDeadError, match="closed"):
        llm.start()
