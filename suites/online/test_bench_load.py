"""Benchmark: what the clients of the server see under closed and open loops, and how many tokens
those clients can take themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stagegate_baselines.fingerprint import model_digest
from stagegate_harness.measure import Measure, Metrics, Samples
from suites.adapter.options import ENGINE, Workload
from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.client import Target
from suites.online.load.endpoints import Endpoint
from suites.online.load.lengths import Lengths
from suites.online.load.load_run import run_load
from suites.online.load.objective import Objective
from suites.online.load.report import LoadReport, report_of
from suites.online.load.words import Words
from suites.online.load.workload import WorkloadSettings, draw_conversations
from suites.online.null_server_process import null_server
from suites.online.server_process import server_process

# Conversations a round, for each prompt of the workload.
CONVERSATIONS_A_PROMPT = 4
# A reader notices longer.
OBJECTIVE = Objective(ttft=200, tpot=50)
GREEDY = {"temperature": 0, "ignore_eos": True}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rate" in metafunc.fixturenames:
        rate = metafunc.config.stash[ENGINE].load_rate
        metafunc.parametrize("rate", [rate], ids=[f"{rate:g}-a-second"])


@dataclass(frozen=True)
class ServerLoad:
    """Measures rounds of a load on a server of their own; all its requests must be answered."""

    measure: Measure
    workload: Workload
    model_path: Path
    device: str
    num_threads: int

    def run(
        self,
        kv_layout: str,
        arrival: ClosedLoop | OpenLoop,
        *,
        prefix_tokens: int = 0,
        turns: int = 1,
    ) -> Samples:
        workload = self.workload
        words = Words.of_checkpoint(self.model_path)
        conversations = CONVERSATIONS_A_PROMPT * workload.prompts
        # Of a chat template, generously.
        added = 32
        length = prefix_tokens + turns * (workload.input_len + workload.output_len + added)
        # One core is for the clients and the server's own loop: operators wait for the slowest of
        # their threads, and with one that shares its core a step takes several times as long.
        num_threads = max(1, self.num_threads - 1)
        flags = (
            *("--kv-capacity-tokens", str(conversations * length)),
            *("--num-threads", str(num_threads), "--no-access-log"),
        )

        def work(index: int) -> WorkloadSettings:
            return WorkloadSettings(
                requests=conversations * turns,
                prompt_tokens=Lengths.fixed(workload.input_len),
                output_tokens=Lengths.fixed(workload.output_len),
                prefix_tokens=prefix_tokens,
                turns=turns,
                seed=(workload.seed, 0 if workload.repeat_prompts else index + 1),
            )

        with server_process(
            self.model_path, self.device, kv_layout, *flags, planted=self.measure.planted
        ) as (url, _):
            target = Target(url, "tiny", Endpoint.CHAT, fields=GREEDY)

            def run(index: int) -> Metrics:
                drawn = draw_conversations(work(index), words)
                # The times are those of every round: another schedule is another load.
                report = report_of(run_load(target, drawn, arrival, seed=workload.seed), OBJECTIVE)
                self._check(report)
                return report.metrics()

            return self.measure(run, model_digest=model_digest(self.model_path), trace=False)

    def _check(self, report: LoadReport) -> None:
        for kind, message in report.messages.items():
            self.measure.invalid(f"requests failed with {kind}, such as: {message}")
        if report.is_client_busy:
            self.measure.invalid("the client was busy: it measured its own delays")
        if not report.failed:
            assert report.completion_tokens == report.planned * self.workload.output_len


@pytest.fixture
def server_load(
    measure: Measure, workload: Workload, model_path: Path, device: str, num_threads: int
) -> ServerLoad:
    return ServerLoad(measure, workload, model_path, device, num_threads)


@pytest.mark.benchmark(group="online")
def test_closed_loop(server_load: ServerLoad, kv_layout: str) -> None:
    server_load.run(kv_layout, ClosedLoop(server_load.workload.prompts))


@pytest.mark.benchmark(group="online")
def test_open_loop(server_load: ServerLoad, kv_layout: str, rate: float) -> None:
    samples = server_load.run(kv_layout, OpenLoop(rate))
    assert len(set(samples["intended_rate"])) == 1


@pytest.mark.benchmark(group="online")
@pytest.mark.parametrize("kv_layout", ["block"])
def test_bursts(server_load: ServerLoad, kv_layout: str, rate: float) -> None:
    server_load.run(kv_layout, OpenLoop(rate, burst=server_load.workload.prompts))


@pytest.mark.benchmark(group="online")
@pytest.mark.parametrize("kv_layout", ["block"])
def test_conversations(server_load: ServerLoad, kv_layout: str, rate: float) -> None:
    """Two turns behind a prefix that all share: most of every prompt is in the prefix cache."""
    prefix_tokens = server_load.workload.input_len
    samples = server_load.run(kv_layout, OpenLoop(rate), prefix_tokens=prefix_tokens, turns=2)
    for cached, requests in zip(samples["cached_tokens"], samples["requests"], strict=True):
        assert cached is not None
        assert requests is not None
        # What has filled blocks: the prefix in all but the first few, and the first turn in the
        # second.
        assert cached > requests / 2 * prefix_tokens


@pytest.mark.benchmark(group="online")
def test_client_tokens_per_core(measure: Measure, model_path: Path) -> None:
    """Streams of a server that computes nothing, slow enough to send every token by itself."""
    streams, tokens = 16, 500
    with null_server(model_path, step_seconds=0.004) as server:
        target = Target(f"http://127.0.0.1:{server.port}", "null", fields={"ignore_eos": True})
        work = WorkloadSettings(streams, Lengths.fixed(8), Lengths.fixed(tokens))
        conversations = draw_conversations(work, Words.of_checkpoint(model_path))

        def run(_: int) -> Metrics:
            load = run_load(target, conversations, ClosedLoop(streams))
            report = report_of(load)
            assert report.completion_tokens == streams * tokens
            assert report.itl_ms.count > 0.9 * streams * tokens
            return {
                "completion_tokens": report.completion_tokens,
                "tokens_per_cpu_sec": report.completion_tokens / load.client_cpu_s,
            }

        measure(run, trace=False)
