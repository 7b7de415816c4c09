"""The report of a run with exactly known times."""

from __future__ import annotations

import numpy as np
import pytest

from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.errors import LoadError
from suites.online.load.load_run import LoadRun
from suites.online.load.objective import Objective
from suites.online.load.report import Percentiles, report_of
from suites.online.load.request_result import Failure, RequestResult
from suites.online.load.table import format_report


def result(number: int, **fields: object) -> RequestResult:
    """Due at `number` seconds, sent 0.1 s late, first token 0.2 s after it was due, four more
    chunks 10 ms apart with nine tokens in all, and the end 10 ms later."""
    usual = {
        "conversation": number,
        "turn": 0,
        "intended": float(number),
        "started": number + 0.1,
        "token_times": [number + 0.2 + 0.01 * i for i in range(5)],
        "ended": number + 0.25,
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "cached_tokens": 16,
        "status": 200,
    }
    return RequestResult(**(usual | fields))  # type: ignore[arg-type]


def run(*results: RequestResult, planned: int | None = None, rate: float | None = 1.0) -> LoadRun:
    arrival = ClosedLoop(1) if rate is None else OpenLoop(rate)
    ended = max((one.ended for one in results), default=0.0)
    return LoadRun(arrival, planned or len(results), results, ended, client_cpu_s=0.1)


def test_latencies_count_from_the_intended_start() -> None:
    one = result(0)
    assert one.ttft_ms == pytest.approx(200)
    assert one.tpot_ms == pytest.approx(40 / 8)  # eight tokens after the first
    assert one.itl_ms == pytest.approx([10] * 4)
    assert one.e2e_ms == pytest.approx(250)


def test_what_an_answer_does_not_have() -> None:
    empty = result(0, token_times=[], completion_tokens=0)
    assert (empty.ttft_ms, empty.tpot_ms, empty.itl_ms) == (None, None, [])
    single = result(0, token_times=[0.2], completion_tokens=1)
    assert (single.tpot_ms, single.itl_ms) == (None, [])
    assert result(0, completion_tokens=None).output_tokens == 5


def test_percentiles_have_their_counts() -> None:
    # Delays in an order that is not sorted, and one request without a first token.
    delays = [0.5, 0.1, 0.4, 0.2, 0.3]
    results = [result(i, token_times=[i + delay]) for i, delay in enumerate(delays)]
    report = report_of(run(*results, result(9, token_times=[], completion_tokens=0)))
    assert report.ttft_ms.count == 5
    assert report.ttft_ms.p50 == pytest.approx(300)
    assert report.ttft_ms.p90 == pytest.approx(np.percentile([100, 200, 300, 400, 500], 90))
    assert report.ttft_ms.p99 == pytest.approx(496)
    assert report.itl_ms == Percentiles(0, None, None, None)
    assert report.e2e_ms.count == 6


def test_rates() -> None:
    report = report_of(run(*(result(i) for i in range(4))))
    assert report.duration_s == pytest.approx(3.25)
    assert report.tokens_per_s == pytest.approx(36 / 3.25)
    assert report.requests_per_s == pytest.approx(4 / 3.25)
    assert (report.prompt_tokens, report.cached_tokens) == (80, 64)
    assert (report.asked_rate, report.intended_rate) == (1.0, 1.0)
    assert report.achieved_rate == pytest.approx(1.0)
    late = report_of(run(*(result(i, started=1.5 * i) for i in range(4))))
    assert late.intended_rate == 1.0
    assert late.achieved_rate == pytest.approx(1 / 1.5)
    assert late.sent_late_ms.p99 == pytest.approx(1485)
    closed = report_of(run(result(0), rate=None))
    assert (closed.asked_rate, closed.intended_rate, closed.achieved_rate) == (None, None, None)


def test_failures_are_counted_and_not_measured() -> None:
    results = [
        result(0),
        result(1, failure=Failure.RATE_LIMITED, message="one"),
        result(2, failure=Failure.RATE_LIMITED, message="two"),
        result(3, failure=Failure.TIMEOUT, message="late", ended=99.0),
    ]
    report = report_of(run(*results, planned=6), Objective(e2e=300))
    assert (report.completed, report.failed, report.not_sent) == (1, 3, 2)
    assert report.failures == {"429": 2, "timeout": 1}
    assert report.messages == {"429": "one", "timeout": "late"}
    assert (report.ttft_ms.count, report.sent_late_ms.count) == (1, 4)
    assert report.completion_tokens == 9
    assert report.good == 1
    assert report.goodput_per_s == pytest.approx(1 / 99)


def test_nothing_at_all() -> None:
    report = report_of(run(planned=3), Objective(ttft=1))
    assert (report.completed, report.not_sent, report.tokens_per_s) == (0, 3, None)
    assert "3 not sent" in format_report(report, Objective(ttft=1))


@pytest.mark.parametrize(
    ("objective", "met"),
    [
        ("ttft=200.001", True),
        ("ttft=199", False),
        ("tpot=5.001", True),
        ("tpot=4.9", False),
        ("e2e=250.001", True),
        ("e2e=249", False),
        ("ttft=201,tpot=6,e2e=251", True),
        ("ttft=201,tpot=6,e2e=249", False),
    ],
)
def test_objectives(objective: str, met: bool) -> None:
    assert Objective.parse(objective).is_met(result(0)) is met


def test_objectives_of_short_and_failed_answers() -> None:
    empty = result(0, token_times=[], completion_tokens=0)
    assert not Objective(ttft=1000).is_met(empty)
    assert Objective(tpot=1).is_met(empty)
    assert not Objective(e2e=1000).is_met(result(0, failure=Failure.BROKEN_STREAM))
    assert report_of(run(result(0))).good is None


@pytest.mark.parametrize(
    "text", ["", "ttft", "ttft=x", "itl=3", "ttft=1,ttft=2", "tpot=-1", "e2e=nan", "ttft=1,"]
)
def test_no_objective(text: str) -> None:
    with pytest.raises(LoadError, match=r"(?i)slo"):
        Objective.parse(text)


def test_the_table_says_what_is_wrong() -> None:
    slow = run(result(0, started=1.0, completion_tokens=None), result(1, failure=Failure.TIMEOUT))
    text = format_report(
        report_of(LoadRun(slow.arrival, 2, slow.results, 1.0, client_cpu_s=0.95)), None
    )
    for wanted in ("timeout: 1", "without usage", "the client is busy", "sent late"):
        assert wanted in text
