"""A report as text."""

from __future__ import annotations

from collections.abc import Iterator

from suites.online.load.objective import Objective
from suites.online.load.report import LoadReport, Percentiles

_LATE_MS = 20.0


def format_report(report: LoadReport, objective: Objective | None) -> str:
    return "\n".join(_lines(report, objective))


def _lines(report: LoadReport, objective: Objective | None) -> Iterator[str]:
    yield (
        f"requests   {report.completed} of {report.planned} completed, {report.failed} failed, "
        f"{report.not_sent} not sent, in {report.duration_s:.2f} s"
    )
    for kind, count in report.failures.items():
        yield f"  {kind}: {count}, such as: {report.messages[kind]}"
    yield (
        f"tokens     {report.prompt_tokens} of prompts ({report.cached_tokens} cached), "
        f"{report.completion_tokens} of answers"
    )
    if report.by_chunks:
        yield f"  {report.by_chunks} answers came without usage: their tokens are counted by chunks"
    yield (
        f"throughput {_number(report.tokens_per_s)} output tokens/s, "
        f"{_number(report.requests_per_s)} requests/s"
    )
    if objective is not None:
        yield (
            f"goodput    {_number(report.goodput_per_s)} requests/s, "
            f"{report.good} of {report.planned} met the objective"
        )
    if report.asked_rate is not None:
        yield (
            f"rate       {report.asked_rate:g}/s asked, {_number(report.intended_rate)}/s drawn, "
            f"{_number(report.achieved_rate)}/s sent"
        )
    yield f"client     {100 * report.client_cpu:.0f}% of a core"
    if report.is_client_busy:
        yield "  the client is busy: its own delays are part of these latencies"
    if report.sent_late_ms.p99 is not None and report.sent_late_ms.p99 > _LATE_MS:
        yield "  requests were sent late: the client or this machine does not keep up"
    yield f"{'ms':10} {'count':>8} {'p50':>10} {'p90':>10} {'p99':>10}"
    for name, percentiles in (
        ("TTFT", report.ttft_ms),
        ("TPOT", report.tpot_ms),
        ("ITL", report.itl_ms),
        ("E2E", report.e2e_ms),
        ("sent late", report.sent_late_ms),
    ):
        yield _row(name, percentiles)


def _row(name: str, values: Percentiles) -> str:
    shown = " ".join(f"{_number(value):>10}" for value in (values.p50, values.p90, values.p99))
    return f"{name:10} {values.count:>8} {shown}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
