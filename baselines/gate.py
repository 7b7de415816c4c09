"""The gate: how many launches to take, and when to believe what they say.

Pairs of fresh processes, base and new in turn: AB BA AB, so that a drift of the machine favours
neither. What three pairs leave inconclusive gets more, up to eight. A regression is confirmed by
three fresh pairs before it is called one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from baselines.records import MetricClass, Record
from baselines.statistics import adjusted
from baselines.verdict import Judgement, Launch, Reason, Verdict, judge

STEPS = (3, 5, 8)
CONFIRMING_PAIRS = 3


class Side(StrEnum):
    BASE = "base"
    NEW = "new"


class LaunchSource(Protocol):
    def launch(self, side: Side, number: int) -> Record:
        """Measure one side in a fresh process; number counts the launches of that side from 0."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """judgements: one for each judged metric of each case, p adjusted over all of them."""

    judgements: tuple[Judgement, ...]
    pairs: int
    out_of_time: bool

    @property
    def exit_code(self) -> int:
        """0 passed, 1 regressed or invalid, 3 inconclusive, 4 nothing could be compared."""
        verdicts = {judgement.verdict for judgement in self.judgements}
        if verdicts & {Verdict.REGRESSED, Verdict.INVALID}:
            return 1
        if Verdict.INCONCLUSIVE in verdicts:
            return 3
        if Verdict.NOT_COMPARABLE in verdicts:
            return 4
        return 0


class Gate:
    """Judges a source of launches.

    steps: after how many pairs to look; time_budget_s: no pair is begun later than this.
    progress: told the number of the pair that begins and the seconds since the start.
    """

    def __init__(
        self,
        source: LaunchSource,
        *,
        steps: Sequence[int] = STEPS,
        time_budget_s: float | None = None,
        progress: Callable[[int, float], None] = lambda pair, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._steps = tuple(steps)
        self._budget = time_budget_s
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._pairs: list[tuple[Record, Record]] = []
        self._counts = dict.fromkeys(Side, 0)

    def run(self) -> GateResult:
        judgements: list[Judgement] = []
        for target in self._steps:
            in_time = self._take(target)
            judgements = _judge_all(self._pairs)
            doubtful = any(item.verdict is Verdict.INCONCLUSIVE for item in judgements)
            if not in_time or not doubtful:
                break
        red = [item for item in judgements if item.verdict is Verdict.REGRESSED]
        if red:
            judgements = self._confirm(judgements)
        return GateResult(
            _with_adjusted_p(judgements), pairs=len(self._pairs), out_of_time=not self._in_time()
        )

    def _confirm(self, judgements: list[Judgement]) -> list[Judgement]:
        """What fresh pairs do not show again, by more than the margin, is inconclusive."""
        before = len(self._pairs)
        confirmed = self._take(before + CONFIRMING_PAIRS)
        fresh = {
            (item.case, item.metric): item
            for item in (_judge_all(self._pairs[before:]) if confirmed else [])
        }
        doubted = [
            item
            for item in judgements
            if item.verdict is Verdict.REGRESSED
            and not _shows_again(item, fresh.get((item.case, item.metric)))
        ]
        return [
            replace(item, verdict=Verdict.INCONCLUSIVE, reason=Reason.NOT_CONFIRMED)
            if item in doubted
            else item
            for item in judgements
        ]

    def _take(self, target: int) -> bool:
        """Launch until there are `target` pairs; false when time runs out before."""
        while len(self._pairs) < target:
            if not self._in_time():
                return False
            number = len(self._pairs)
            self._progress(number, self._clock() - self._started)
            order = (Side.BASE, Side.NEW) if number % 2 == 0 else (Side.NEW, Side.BASE)
            records = {side: self._launch(side) for side in order}
            self._pairs.append((records[Side.BASE], records[Side.NEW]))
        return True

    def _launch(self, side: Side) -> Record:
        """A launch that broke its own conditions gets one more chance."""
        record = self._source.launch(side, self._counts[side])
        self._counts[side] += 1
        if any(case.invalid for case in record.cases):
            record = self._source.launch(side, self._counts[side])
            self._counts[side] += 1
        return record

    def _in_time(self) -> bool:
        return self._budget is None or self._clock() - self._started < self._budget


def _shows_again(item: Judgement, again: Judgement | None) -> bool:
    return (
        again is not None
        and again.effect is not None
        and item.margin is not None
        and again.effect > item.margin
    )


def _judge_all(pairs: Sequence[tuple[Record, Record]]) -> list[Judgement]:
    """Every judged metric of every case that all launches of the new side have."""
    judgements = []
    for case in pairs[0][1].cases if pairs else ():
        base = [_launch_of(record, case.name) for record, _ in pairs]
        new = [_launch_of(record, case.name) for _, record in pairs]
        found = [launch for launch in new if launch is not None]
        known = [launch for launch in base if launch is not None]
        for metric in case.metrics:
            if metric.metric_class is not MetricClass.INFO and len(found) == len(pairs):
                complete = known if len(known) == len(pairs) else []
                judgements.append(judge(complete, found, metric.name, paired=True))
    return judgements


def _launch_of(record: Record, name: str) -> Launch | None:
    for case in record.cases:
        if case.name == name:
            return Launch(record.machine_key, case)
    return None


def _with_adjusted_p(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    tested = [item for item in judgements if item.p is not None]
    values = dict(zip(map(id, tested), adjusted([item.p or 0.0 for item in tested]), strict=True))
    return tuple(replace(item, adjusted_p=values.get(id(item))) for item in judgements)
