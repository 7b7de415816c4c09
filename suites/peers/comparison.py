"""Two engines on the same cases, each started afresh in every round, in the order AB BA AB."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.fingerprint import digest
from stagegate_baselines.peers import ENGINE, OURS
from stagegate_baselines.records import Case, Scalar
from stagegate_harness.measure import Samples
from stagegate_harness.metrics import as_metric, for_information
from suites.adapter.metrics import KINDS
from suites.offline.throughput_cases import ThroughputCase
from suites.peers.peer import Peer, PeerError, RunningPeer, Setup

# Of a case in one launch; its figure is the median.
REPEATS = 3
# Part of what a case is: to be raised when the same cases would mean other work.
_WORK_VERSION = 1
_SUITE = "peers"
# The case of how long an engine takes until it is ready.
START_UP = "start-up"

Figures = Mapping[str, float | None]
# Of a case that took so many seconds: as shares of what the machine can do.
Shares = Callable[[ThroughputCase, float | None], Figures]


@dataclass
class Side:
    """What one engine gave. figures: of each case, a value of every metric for each round."""

    name: str
    setup: dict[str, Scalar] = field(default_factory=dict)
    startup_s: list[float] = field(default_factory=list)
    figures: dict[str, list[Figures]] = field(default_factory=dict)
    invalid: dict[str, list[str]] = field(default_factory=dict)


def compare(
    peers: tuple[Peer, Peer],
    cases: Sequence[ThroughputCase],
    setup: Setup,
    *,
    vocab_size: int,
    rounds: int,
    shares: Shares,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Side, Side]:
    """Launch both engines once a round, one after the other.

    The engine that goes first alternates, so that a machine which gets slower favours neither. A
    case that fails is invalid, and the others go on. say: called with what is done, as it is done.
    Raises NotInstalledError, and PeerError where an engine does not start.
    """
    sides = Side(peers[0].name), Side(peers[1].name)
    pairs = list(zip(peers, sides, strict=True))
    for number in range(rounds):
        for peer, side in pairs if number % 2 == 0 else reversed(pairs):
            say(f"round {number + 1} of {rounds}: starting {peer.name}")
            running = peer.start(setup)
            try:
                side.setup = running.setup
                side.startup_s.append(running.startup_s)
                for case in cases:
                    if not running.is_alive:  # after a case that ended it
                        running.end()
                        running = peer.start(setup)
                    _run_case(running, side, case, number, vocab_size, shares)
                    say(f"round {number + 1} of {rounds}: {_said(side, case)}")
            finally:
                running.end()
    return sides


def _run_case(
    running: RunningPeer,
    side: Side,
    case: ThroughputCase,
    number: int,
    vocab_size: int,
    shares: Shares,
) -> None:
    if case.name in side.invalid:
        return  # what an engine could not do once it need not try again
    found: list[Figures] = []
    try:
        for repeat in range(-1, REPEATS):  # the first warms up
            # Every launch has prompts that no other has, the warm-up's included.
            index = number * (REPEATS + 1) + repeat
            seconds = _generate(running, case, index, vocab_size)
            first = (
                _generate(running, case.one_token(), index, vocab_size)
                if case.has_first_tokens
                else None
            )
            if repeat >= 0:
                took = case.measured_seconds(seconds, first)
                found.append({**case.figures(seconds, first), **shares(case, took)})
    except PeerError as error:
        side.invalid.setdefault(case.name, []).append(str(error))
    side.figures.setdefault(case.name, []).append(_medians(found))


def _generate(running: RunningPeer, case: ThroughputCase, index: int, vocab_size: int) -> float:
    return running.generate(
        case.prompts(index, vocab_size), [request.output_len for request in case.requests]
    )


def _medians(found: Sequence[Figures]) -> Figures:
    medians: dict[str, float | None] = {}
    for name in dict.fromkeys(name for figures in found for name in figures):
        known = [value for figures in found if (value := figures.get(name)) is not None]
        medians[name] = median(known) if known else None
    return medians


def _said(side: Side, case: ThroughputCase) -> str:
    if case.name in side.invalid:
        return f"{side.name} {case.name} failed: {side.invalid[case.name][-1].splitlines()[0]}"
    value = side.figures[case.name][-1][case.metric]
    unit = KINDS[case.metric].unit
    return f"{side.name} {case.name} {'-' if value is None else f'{value:,.1f} {unit}'}"


def as_cases(
    side: Side,
    cases: Sequence[ThroughputCase],
    *,
    model_digest: str,
    params: Mapping[str, Scalar],
) -> tuple[Case, ...]:
    """What one engine gave as the cases of a record, one sample a round; and its start as another.

    params: of the work, the same for both engines. Only the figures of this project's engine are
    there to be judged.
    """
    published = {
        name: anonymous(value) if isinstance(value, str) else value
        for name, value in params.items()
    }
    started = _case(side, START_UP, {"startup_s": [*side.startup_s]}, published, (), model_digest)
    return (
        started,
        *(
            _case(
                side,
                case.name,
                _samples(case, side.figures.get(case.name, [])),
                {**case.params(), **published},
                [(request.prompt_len, request.output_len) for request in case.requests],
                model_digest,
            )
            for case in cases
        ),
    )


def _samples(case: ThroughputCase, rounds: Sequence[Figures]) -> Samples:
    """By metric; that which speaks for the case comes first."""
    names = dict.fromkeys([case.metric, *(name for figures in rounds for name in figures)])
    return {name: [figures.get(name) for figures in rounds] for name in names}


def _case(
    side: Side,
    name: str,
    samples: Samples,
    params: Mapping[str, Scalar],
    lengths: Sequence[tuple[int, int]],
    model_digest: str,
) -> Case:
    metrics = [as_metric(metric, values, KINDS) for metric, values in samples.items()]
    if side.name != OURS:
        metrics = list(map(for_information, metrics))
    work = {"case": name, **params}
    return Case(
        name=f"{name}[{side.name}]",
        suite=_SUITE,
        params={**work, ENGINE: side.name},
        workload_hash=digest({"version": _WORK_VERSION, "lengths": lengths, "params": work}),
        model_digest=model_digest,
        metrics=tuple(metrics),
        invalid=tuple(dict.fromkeys(map(anonymous, side.invalid.get(name, ())))),
        setup=side.setup,
    )
