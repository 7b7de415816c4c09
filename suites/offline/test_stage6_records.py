"""Stage 6 rests on records that are committed: of launches that were accepted, and of a peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stagegate_baselines.fingerprint import digest
from stagegate_baselines.records import Case, Gpu, Record, Scalar
from stagegate_baselines.store import Store
from stagegate_harness.metrics import as_metric, for_information
from stagegate_harness.options import PROJECT
from suites.adapter.metrics import KINDS
from suites.baselines.sample_record import sample_record
from suites.offline import stage6_records
from suites.offline.stage6_records import CASES, KV_LAYOUTS

PEER = "vllm"


@pytest.fixture(scope="module")
def store(pytestconfig: pytest.Config) -> Store:
    return Store(pytestconfig.stash[PROJECT].store)


@pytest.fixture(scope="module")
def launches(store: Store) -> list[Record]:
    found = stage6_records.accepted_launches(store)
    if not found:
        pytest.skip("no launches on a GPU are accepted (nox -s baseline -- measure stage6)")
    return found


@pytest.mark.criterion("s6.table", "s6.slot-vs-block")
def test_every_case_is_accepted(launches: list[Record]) -> None:
    assert list(stage6_records.table_faults(launches)) == []


@pytest.mark.criterion("s6.variance")
def test_launches_vary_less_than_the_gate_acts_on(launches: list[Record]) -> None:
    assert list(stage6_records.spread_faults(launches)) == []


@pytest.mark.criterion("s6.block-gain")
def test_every_launch_gains_by_the_block_layout(launches: list[Record]) -> None:
    assert list(stage6_records.block_faults(launches)) == []


@pytest.mark.criterion("s6.peers")
def test_every_case_is_compared_with_the_peer(store: Store) -> None:
    record = stage6_records.newest_comparison(store, PEER)
    if record is None:
        pytest.skip(f"no comparison with {PEER} is stored (nox -s compare -- --peer {PEER})")
    assert list(stage6_records.comparison_faults(record, PEER)) == []


GPU = Gpu(
    name="a card", memory_bytes=2**36, driver="1", power_limit_w=None, max_sm_clock_mhz=None,
    max_memory_clock_mhz=None, ecc=None, mig=None,
)  # fmt: skip


def case(name: str, params: dict[str, Scalar], **values: float) -> Case:
    return Case(
        name=name,
        suite="offline",
        params=params,
        workload_hash=digest(name.partition("[")[0] + str(params.get("case"))),
        model_digest=None,
        metrics=tuple(
            as_metric(metric, [value] * 3, KINDS)
            for metric, value in {**values, "share_of_read": 0.5}.items()
        ),
    )


def launch(number: int, *, spread: float = 0.001, block: float = 1.5) -> Record:
    """block: how many times faster the block layout is."""
    factor = 1 + spread * (number - 2)
    cases = [case("test_start_up[qwen2-1.5b]", {}, startup_s=1.0), case("test_decode_curve", {})]
    for kv_layout in KV_LAYOUTS:
        for name, shape in CASES.items():
            value = factor * (100 * block if kv_layout == "block" else 100)
            named = f"test_throughput[qwen2-1.5b-{kv_layout}-{name}]"
            cases.append(
                case(named, {"kv_layout": kv_layout, "case": name}, **{shape.metric: value})
            )
    base = sample_record("stage6")
    return base.model_copy(
        update={
            "created": f"2026-01-02T03:04:{number:02}Z",
            "machine": base.machine.model_copy(update={"gpus": (GPU,)}),
            "cases": tuple(cases),
            "launch": number,
            "evidence": (),
        }
    )


def comparison(*, rounds: int = 3, setup: dict[str, Scalar] | None = None) -> Record:
    cases = []
    for engine in ("stagegate", PEER):
        for name, shape in CASES.items():
            made = case(f"{name}[{engine}]", {"case": name, "engine": engine}, **{shape.metric: 1})
            metrics = [
                metric.model_copy(update={"samples": metric.samples[:rounds]})
                for metric in made.metrics
            ]
            if engine == PEER:
                metrics = list(map(for_information, metrics))
            update = {
                "metrics": tuple(metrics),
                "setup": {"version": "1"} if setup is None else setup,
                "workload_hash": digest(name),
            }
            cases.append(made.model_copy(update=update))
    return launch(0).model_copy(update={"cases": tuple(cases), "launch": None})


FIVE = [launch(number) for number in range(5)]


def without(record: Record, name: str) -> Record:
    cases = tuple(found for found in record.cases if not found.name.startswith(name))
    return record.model_copy(update={"cases": cases})


def test_whole_records_have_no_fault() -> None:
    for faults in (
        stage6_records.table_faults,
        stage6_records.spread_faults,
        stage6_records.block_faults,
    ):
        assert list(faults(FIVE)) == []
    assert list(stage6_records.comparison_faults(comparison(), PEER)) == []


@pytest.mark.parametrize(
    ("faults", "launches", "said"),
    [
        (stage6_records.table_faults, FIVE[:4], "4 launches, and 5 are needed"),
        (
            stage6_records.table_faults,
            [*FIVE[:4], without(FIVE[4], "test_throughput[qwen2-1.5b-slot-D")],
            "launch 4 lacks test_throughput[qwen2-1.5b-slot-D]",
        ),
        (
            stage6_records.table_faults,
            [without(FIVE[0], "test_decode_curve"), *FIVE[1:]],
            "launch 0 has no cost curve",
        ),
        (
            stage6_records.spread_faults,
            [launch(number, spread=0.1) for number in range(5)],
            "test_throughput[qwen2-1.5b-block-A] tokens_per_sec varies by 16.0 %, and",
        ),
        (
            stage6_records.block_faults,
            [launch(number, block=0.9) for number in range(5)],
            "E64: the block layout is 0.90 to 0.90 times as fast",
        ),
    ],
)
def test_a_fault_is_named(
    faults: Callable[[Sequence[Record]], Sequence[str]], launches: list[Record], said: str
) -> None:
    assert any(fault.startswith(said) for fault in faults(launches)), list(faults(launches))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (without(comparison(), "C["), "case C was not compared"),
        (comparison(rounds=1), "case A has 1 rounds, not 3"),
        (comparison(setup={}), "case A does not say which version of vllm ran"),
    ],
)
def test_a_fault_of_a_comparison_is_named(record: Record, said: str) -> None:
    assert said in list(stage6_records.comparison_faults(record, PEER))


def test_the_last_acceptance_on_a_gpu_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert stage6_records.accepted_launches(store) == []
    assert stage6_records.newest_comparison(store, PEER) is None
    for record in FIVE:
        entry = store.add(record, "first")
    assert stage6_records.accepted_launches(store) == []
    store.accept(entry, why="the first")
    assert stage6_records.accepted_launches(store) == FIVE
    on_cpu = store.add(sample_record("stage6").model_copy(update={"machine_key": "0" * 16}), "cpu")
    store.accept(on_cpu, why="not a GPU")
    assert stage6_records.accepted_launches(store) == FIVE
    store.add(comparison(), "peer")
    assert stage6_records.newest_comparison(store, PEER) == comparison()
