"""What several records of one tree prove together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stagegate_baselines.records import Evidence, TestOutcome
from stagegate_baselines.states import CriterionState

# Of a test's outcomes in several records the first of these counts.
_WEIGHT = ("failed", "passed", "skipped", "left-out")
# More files than these are named by their folders.
_MOST_FILES = 3


def file_of(test: str) -> str:
    """The file of a test's id."""
    return test.partition("::")[0]


def count(tests: Iterable[TestOutcome], outcome: str) -> int:
    """How many cases ended so."""
    return sum(test.cases for test in tests if test.outcome == outcome)


def state_of(tests: Sequence[TestOutcome], *, whole: bool) -> CriterionState:
    """What the tests of one run say of a criterion. whole: they are all that are behind it."""
    if count(tests, "failed"):
        return CriterionState.FAILED
    complete = whole and all(map(_ran, tests))
    proved = complete and count(tests, "passed")
    return CriterionState.PROVED if proved else CriterionState.UNPROVED


def add_up(found: Sequence[Evidence]) -> tuple[CriterionState, tuple[TestOutcome, ...]]:
    """The state of a criterion over its evidence in several records, and how its tests ended.

    failed beats proved beats unproved. Records that each left something out prove it together when
    one of them knows all tests, and each test ran in one of them.
    """
    ran: dict[str, TestOutcome] = {}
    for test in (test for item in found for test in item.tests if _ran(test)):
        known = ran.get(test.test)
        if known is None or _WEIGHT.index(test.outcome) < _WEIGHT.index(known.outcome):
            ran[test.test] = test
    missing = _missing(found, ran)
    states = {item.state for item in found}
    passed = any(test.outcome == "passed" for test in ran.values())
    whole = any(item.whole for item in found)
    if CriterionState.FAILED in states:
        state = CriterionState.FAILED
    elif CriterionState.PROVED in states or (passed and whole and not missing):
        state = CriterionState.PROVED
    else:
        state = CriterionState.UNPROVED
    return state, (*ran.values(), *missing)


def _missing(found: Sequence[Evidence], ran: dict[str, TestOutcome]) -> tuple[TestOutcome, ...]:
    """By file, the tests that no record ran.

    A record that was left without some tests of a file counts them, and names the others: where
    records of one tree name as many different tests of it, none is missing.
    """
    sizes: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for item in found:
        # Old records may have two tests of one name, whose parameters were paths.
        size = Counter(map(file_of, {test.test for test in item.tests if _ran(test)}))
        for test in item.tests:
            if not _ran(test):
                file = file_of(test.test)
                size[file] += test.cases
                reasons.setdefault(file, Counter())[test.reason or "left out"] += test.cases
        sizes |= size
    covered = Counter(map(file_of, ran))
    return tuple(
        TestOutcome(
            test=file,
            outcome="left-out",
            seconds=0.0,
            reason=reasons[file].most_common(1)[0][0] if file in reasons else None,
            cases=size - covered[file],
        )
        for file, size in sorted(sizes.items())
        if size > covered[file]
    )


def _ran(test: TestOutcome) -> bool:
    return test.outcome != "left-out"


def missing_words(tests: Iterable[TestOutcome]) -> str:
    """What was left out, as files or folders with the number of their tests."""
    counts: Counter[str] = Counter()
    for test in tests:
        if not _ran(test):
            counts[file_of(test.test)] += test.cases
    if len(counts) > _MOST_FILES:
        folders: Counter[str] = Counter()
        for file, cases in counts.items():
            folders[file.rpartition("/")[0] or file] += cases
        counts = folders
    return ", ".join(f"{place} ({cases})" for place, cases in sorted(counts.items()))
