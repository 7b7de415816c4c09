"""What a gate compares with: a revision, what was accepted, here or elsewhere."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from stagegate_baselines.gate.base import Base, Mode, NoBaseError, OnMismatch, choose_base
from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.noise import launch_noise
from stagegate_baselines.records import Record
from stagegate_baselines.store import Entry, Store
from stagegate_harness.__main__ import main
from suites.baselines.sample_record import sample_record

HERE, ELSEWHERE = "0123456789abcdef", "a" * 16
REVISION = "c" * 40


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def launches(
    store: Store,
    rates: list[float],
    *,
    label: str = "v1",
    machine: str = HERE,
    revision: str | None = REVISION,
    dirty: bool = False,
    numbered: bool = True,
) -> list[Entry]:
    entries = []
    for number, rate in enumerate(rates):
        record = sample_record(rate=rate)
        environment = record.environment.model_copy(
            update={"git_revision": revision, "git_dirty": dirty}
        )
        launch = number if numbered else None
        update = {
            "created": f"2026-01-02T03:04:{number:02}Z",
            "machine_key": machine,
            "environment": environment,
            "launch": launch,
        }
        entries.append(store.add(record.model_copy(update=update), label))
    return entries


def chosen(
    store: Store,
    against: str = "accepted",
    mode: Mode = Mode.PAIRED,
    on_mismatch: OnMismatch = OnMismatch.PAIRED,
) -> Base:
    return choose_base(
        store,
        stage="stage0",
        machine_key=HERE,
        against=against,
        mode=mode,
        on_mismatch=on_mismatch,
    )


def rates_of(records: tuple[Record, ...]) -> list[float | None]:
    return [record.cases[0].metrics[0].samples[0] for record in records]


def test_a_revision_is_built(store: Store) -> None:
    base = chosen(store, against="v1.2")
    assert (base.revision, base.stored) == ("v1.2", ())
    with pytest.raises(NoBaseError, match=r"not with 'v1\.2'"):
        chosen(store, against="v1.2", mode=Mode.STORED)


def test_nothing_was_accepted(store: Store) -> None:
    launches(store, [100.0])
    with pytest.raises(NoBaseError, match="nothing was accepted for stage0"):
        chosen(store)


def test_what_was_accepted_here_is_built_or_taken_from_the_store(store: Store) -> None:
    launches(store, [50.0] * 5, label="v0")
    *_, last = launches(store, [100, 101, 99, 100.5, 99.5])
    launches(store, [200.0] * 5, label="v2")
    store.accept(last, why="first")
    assert chosen(store).revision == REVISION
    assert store.find("v1") == last  # a set goes by its newest launch
    base = chosen(store, mode=Mode.STORED)
    assert (base.name, base.revision, base.advisory) == (last.name, None, False)
    assert rates_of(base.stored) == [100, 101, 99, 100.5, 99.5]


def test_the_run_of_a_stage_is_no_launch(store: Store) -> None:
    *_, last = launches(store, [100.0] * 5)
    launches(store, [300.0], numbered=False)
    store.accept(last, why="first")
    assert rates_of(chosen(store, mode=Mode.STORED).stored) == [100.0] * 5


def test_too_few_stored_launches(store: Store) -> None:
    *_, last = launches(store, [100.0] * 4)
    store.accept(last, why="first")
    with pytest.raises(NoBaseError, match=r"has 4 launches .* needs 5"):
        chosen(store, mode=Mode.STORED)


def test_a_tree_without_a_revision_cannot_be_built_again(store: Store) -> None:
    [entry] = launches(store, [100.0], dirty=True)
    store.accept(entry, why="first")
    with pytest.raises(NoBaseError, match="no revision names"):
        chosen(store)


def test_accepted_on_another_machine(store: Store) -> None:
    [entry] = launches(store, [100.0], machine=ELSEWHERE)
    store.accept(entry, why="first")
    assert chosen(store).revision == REVISION
    # Stored launches of another machine are not compared as if they were of this one.
    assert chosen(store, mode=Mode.STORED).revision == REVISION
    advice = chosen(store, on_mismatch=OnMismatch.ADVISORY)
    assert (advice.advisory, rates_of(advice.stored)) == (True, [100.0])
    with pytest.raises(NoBaseError, match="accepted on another machine"):
        chosen(store, on_mismatch=OnMismatch.FAIL)


def test_the_command_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", str(tmp_path), "gate", "stage0"]) == 4
    assert "nothing was accepted for stage0 yet" in capsys.readouterr().err


def test_noise_is_pooled_over_sets_of_launches(store: Store) -> None:
    rng = np.random.default_rng(0)
    for label, level in (("v0", 100.0), ("v1", 300.0)):  # levels differ, noise does not
        launches(store, list(level * np.exp(rng.normal(0, 0.02, 40))), label=label)
    [(key, sigma)] = chosen(store, against="HEAD").noise.items()
    assert key == ("test_case[block]", "1" * 16, "tokens_per_sec", Clock.WALL)
    assert sigma == pytest.approx(0.02, rel=0.25)


def test_revisions_under_one_label_are_sets_of_their_own(store: Store) -> None:
    """All of them count, and what differs between revisions is no noise."""
    for revision, level in ((REVISION, 100.0), ("d" * 40, 300.0)):
        launches(store, [level, level * math.e, level / math.e], revision=revision)
    [sigma] = chosen(store, against="HEAD").noise.values()
    assert sigma == pytest.approx(1.0)


def test_noise_of_too_few_launches_is_not_known() -> None:
    few = [sample_record(rate=rate) for rate in (100, 110, 120, 90)]
    assert launch_noise([few]) == {}
    [sigma] = launch_noise([[*few, sample_record(rate=100)]]).values()
    assert sigma == pytest.approx(np.std(np.log([100, 110, 120, 90, 100]), ddof=1))


def test_invalid_launches_are_no_noise() -> None:
    record = sample_record()
    [case] = record.cases
    broken = record.model_copy(
        update={"cases": (case.model_copy(update={"invalid": ("wrong tokens",)}),)}
    )
    assert launch_noise([[broken] * 9]) == {}


def test_a_slowed_record_is_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = sample_record()
    environment = record.environment.model_copy(
        update={"git_dirty": False, "variables": {"STAGEGATE_PLANT": "test_case=5"}}
    )
    content = record.model_copy(update={"environment": environment}).model_dump(mode="json")
    (tmp_path / "run.json").write_text(json.dumps({"stagegate": content}))
    store = ["--store", str(tmp_path / "store")]
    assert main([*store, "add", str(tmp_path / "run.json"), "--label", "slow"]) == 0
    assert main([*store, "accept", "slow", "--why", "fast enough"]) == 1
    assert "slowed down on purpose" in capsys.readouterr().err
