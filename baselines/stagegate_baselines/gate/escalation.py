"""The gate: how many launches to take, and when to believe what they say.

Pairs of fresh processes, base and new in turn: AB BA AB, so that a drift of the machine favours
neither. What five launches leave open gets more, up to eight. Against launches that are already in
the store, the new side alone is launched, ten times. A change, for better or worse, is called one
after five fresh launches have shown it again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from stagegate_baselines.gate.conditions import Basis, Clock, Launch
from stagegate_baselines.gate.noise import Noise
from stagegate_baselines.gate.statistics import CONFIDENCE, CONFIRMING_CONFIDENCE, adjusted
from stagegate_baselines.gate.verdict import Comparison, Judgement, Reason, judge
from stagegate_baselines.records import MetricClass, Record
from stagegate_baselines.states import Verdict

# Fewer than five launches of a case with two speeds may all be alike by chance.
STEPS = (5, 8)
# Launches of a pair meet one speed together. Stored ones ran at another time: with five a side, all
# of one may be slow and all of the other fast, once in 1,024 gates, and hide a change.
STORED_STEPS = (10,)
CONFIRMING_LAUNCHES = 5
_CHANGES = (Verdict.REGRESSED, Verdict.IMPROVED)


class Side(StrEnum):
    BASE = "base"
    NEW = "new"


class LaunchSource(Protocol):
    def launch(self, side: Side, number: int) -> Record:
        """Measure one side in a fresh process; number counts the launches of that side from 0."""


@dataclass(frozen=True, slots=True)
class Progress:
    """launches: taken of the new side, of `target` that are wanted before the next look.

    most: that the gate can take, should every look leave a doubt and then a change to confirm.
    seconds: since it began. slowest: of a launch on each side, in seconds, so far. budget: seconds
    after which none begins.
    """

    launches: int
    target: int
    most: int
    seconds: float
    slowest: float
    budget: float | None

    @property
    def most_seconds(self) -> float | None:
        """That the whole gate takes, if no launch is slower than the slowest so far.

        None before there is one to tell from; launches of a stopped gate are only read.
        """
        if self.slowest < 1.0:
            return None
        seconds = self.seconds + self.slowest * (self.most - self.launches)
        return seconds if self.budget is None else min(seconds, self.budget + self.slowest)


@dataclass(frozen=True, slots=True)
class GateResult:
    """judgements: one for each judged metric of each case, p adjusted over all of them.

    launches: of the new side. failed_criteria: ids that a launch of the new side proved false.
    advisory: the base ran on another machine of the same kind, so that nothing is red for speed.
    seconds: it took.
    """

    judgements: tuple[Judgement, ...]
    launches: int
    out_of_time: bool = False
    failed_criteria: tuple[str, ...] = ()
    advisory: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 passed, 1 regressed, invalid or a criterion failed, 3 inconclusive, 4 not comparable.

        Also 4 where there was nothing to judge.
        """
        verdicts = {judgement.verdict for judgement in self.judgements}
        if self.failed_criteria or Verdict.INVALID in verdicts:
            return 1
        if not self.advisory and Verdict.REGRESSED in verdicts:
            return 1
        if not self.advisory and Verdict.INCONCLUSIVE in verdicts:
            return 3
        if Verdict.NOT_COMPARABLE in verdicts or not verdicts:
            return 4
        return 0


class Gate:
    """Judges a source of launches.

    stored: launches of the base that were taken before; the source is then asked for the new side
    alone. noise: of a launch, where the store knows it.
    advisory: compare with stored launches of another machine of the same kind.
    steps: after how many launches a side to look; None takes STEPS, or STORED_STEPS against a
    stored base. time_budget_s: none is begun later than this.
    """

    def __init__(
        self,
        source: LaunchSource,
        *,
        stored: Sequence[Record] = (),
        noise: Noise | None = None,
        advisory: bool = False,
        steps: Sequence[int] | None = None,
        time_budget_s: float | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._stored = tuple(stored)
        self._noise = noise or {}
        self._advisory = advisory
        self._steps = tuple(steps or (STORED_STEPS if stored else STEPS))
        self._budget = time_budget_s
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._slowest = 0.0
        self._launches: dict[Side, list[Record]] = {side: [] for side in Side}
        self._counts = dict.fromkeys(Side, 0)

    def run(self) -> GateResult:
        judgements: list[Judgement] = []
        for target in self._steps:
            in_time = self._take(target)
            judgements = self._judge()
            doubtful = any(item.verdict is Verdict.INCONCLUSIVE for item in judgements)
            if not in_time or not doubtful:
                break
        if any(item.verdict in _CHANGES for item in judgements):
            judgements = self._confirm(judgements)
        return GateResult(
            _with_adjusted_p(judgements),
            launches=self._taken,
            out_of_time=not self._in_time(),
            failed_criteria=_failed_criteria(self._launches[Side.NEW]),
            advisory=self._advisory,
            seconds=self._clock() - self._started,
        )

    @property
    def most(self) -> int:
        """Launches a side that it can take; one that breaks its own conditions is repeated once."""
        return self._steps[-1] + CONFIRMING_LAUNCHES

    @property
    def _taken(self) -> int:
        return len(self._launches[Side.NEW])

    def _confirm(self, judgements: list[Judgement]) -> list[Judgement]:
        """A change that fresh launches do not show again, on their own, is inconclusive."""
        before = self._taken
        confirmed = self._take(before + CONFIRMING_LAUNCHES)
        bases = {
            (item.case, item.metric): item.basis for item in judgements if item.verdict in _CHANGES
        }
        fresh = {
            (item.case, item.metric): item
            for item in (
                self._judge(since=before, confidence=CONFIRMING_CONFIDENCE, bases=bases)
                if confirmed
                else []
            )
        }
        return [
            replace(item, verdict=Verdict.INCONCLUSIVE, reason=Reason.NOT_CONFIRMED)
            if item.verdict in _CHANGES
            and not _shows_again(item, fresh.get((item.case, item.metric)))
            else item
            for item in judgements
        ]

    def _take(self, target: int) -> bool:
        """Launch until there are `target` of the new side; false when time runs out before."""
        while self._taken < target:
            if not self._in_time():
                return False
            number = self._taken
            begun = self._clock()
            self._progress(
                Progress(
                    number, target, self.most, begun - self._started, self._slowest, self._budget
                )
            )
            for side in self._order(number):
                self._launches[side].append(self._launch(side))
            self._slowest = max(self._slowest, self._clock() - begun)
        return True

    def _order(self, number: int) -> Sequence[Side]:
        if self._stored:
            return (Side.NEW,)
        return (Side.BASE, Side.NEW) if number % 2 == 0 else (Side.NEW, Side.BASE)

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

    def _judge(
        self,
        since: int = 0,
        confidence: float = CONFIDENCE,
        bases: Mapping[tuple[str, str], Basis] | None = None,
    ) -> list[Judgement]:
        """Every judged metric of every case of the launches from number `since` on.

        bases: of the judgements to confirm, by case and metric.
        """
        new = self._launches[Side.NEW][since:]
        base = self._stored or tuple(self._launches[Side.BASE][since:])
        if not new:
            return []
        comparison = (
            Comparison.ADVISORY
            if self._advisory
            else Comparison.STORED
            if self._stored
            else Comparison.PAIRED
        )
        judgements = []
        for name in _case_names(new):
            before, after = _launches_of(base, name), _launches_of(new, name)
            for metric in _judged_metrics(after):
                judgements.append(
                    judge(
                        # A case that some launches of the base lack is a new one.
                        before if len(before) == len(base) else [],
                        after,
                        metric,
                        comparison=comparison,
                        sigma=self._known_noise(name, after[0].case.workload_hash, metric),
                        confidence=confidence,
                        basis=(bases or {}).get((name, metric)),
                    )
                )
        gone = [name for name in _case_names(base) if name not in _case_names(new)]
        judgements += [
            Judgement(name, "-", Verdict.NOT_COMPARABLE, Reason.CASE_REMOVED) for name in gone
        ]
        return judgements

    def _known_noise(self, case: str, workload_hash: str, metric: str) -> dict[Clock, float]:
        keys = {clock: (case, workload_hash, metric, clock) for clock in Clock}
        return {clock: self._noise[key] for clock, key in keys.items() if key in self._noise}


def _case_names(records: Sequence[Record]) -> list[str]:
    """In the order they appear in; a case counts though some launches lack it."""
    return list(dict.fromkeys(case.name for record in records for case in record.cases))


def _launches_of(records: Sequence[Record], name: str) -> list[Launch]:
    return [
        Launch(record.machine_key, record.machine.kind, case, record.device)
        for record in records
        for case in record.cases
        if case.name == name
    ]


def _judged_metrics(launches: Sequence[Launch]) -> list[str]:
    """A case that failed before it measured anything is judged too, under the name "-"."""
    names = [
        metric.name
        for metric in launches[0].case.metrics
        if metric.metric_class is not MetricClass.INFO
    ]
    return names or (["-"] if any(launch.case.invalid for launch in launches) else [])


def _failed_criteria(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            evidence.criterion
            for record in records
            for evidence in record.evidence
            if evidence.state == "failed"
        )
    )


def _shows_again(item: Judgement, again: Judgement | None) -> bool:
    """In the same direction, beyond the margin that was exceeded, with an interval without zero."""
    if again is None or again.effect is None or again.low is None or again.high is None:
        return False
    if item.effect is None or item.margin is None:
        return False
    margin = math.log1p(item.margin)
    if item.verdict is Verdict.REGRESSED:
        return again.low > 0 and math.log1p(again.effect) > margin
    return again.high < 0 and math.log1p(again.effect) < -margin


def _with_adjusted_p(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    tested = [item for item in judgements if item.p is not None]
    values = dict(zip(map(id, tested), adjusted([item.p or 0.0 for item in tested]), strict=True))
    return tuple(replace(item, adjusted_p=values.get(id(item))) for item in judgements)
