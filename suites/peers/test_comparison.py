"""Two engines on the same cases: who runs when, what is kept, what happens when one fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from stagegate_baselines.peers import peer_comparisons
from stagegate_baselines.records import MetricClass, Scalar
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main as harness
from suites.baselines.sample_record import sample_record
from suites.offline.throughput_cases import ThroughputCase, throughput_cases
from suites.peers.comparison import REPEATS, START_UP, Side, as_cases, compare
from suites.peers.peer import NotInstalledError, OfflinePeer, PeerError, RunningPeer, Setup

SMALL = throughput_cases(length_divisor=64, batch_divisor=64)
A, E64, D = (SMALL[name] for name in ("A", "E64", "D"))
SETUP = Setup(Path("model"), "cpu", max_model_len=64, num_threads=1)
VOCAB = 100


class FakePeer:
    """Takes a fixed time for a token, and notes what it is asked."""

    def __init__(self, name: str, log: list[str], *, token_s: float = 0.001) -> None:
        self.name = name
        self.log = log
        self.token_s = token_s
        self.prompts: list[tuple[int, ...]] = []
        self.fails_on = ""
        self.dies = False

    def start(self, setup: Setup) -> RunningPeer:
        assert setup is SETUP
        self.log.append(f"{self.name} starts")
        return FakeRunning(self)


class FakeRunning:
    def __init__(self, peer: FakePeer) -> None:
        self.peer = peer
        self.startup_s = 2.0
        self.setup: dict[str, Scalar] = {"version": "1"}
        self.is_alive = True

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int]) -> float:
        if self.peer.fails_on and len(prompts[0]) == int(self.peer.fails_on):
            msg = f"{self.peer.name}: out of memory\nand more"
            self.is_alive = not self.peer.dies
            raise PeerError(msg)
        self.peer.prompts += [tuple(prompt) for prompt in prompts]
        return self.peer.token_s * sum(max_tokens)

    def end(self) -> None:
        self.peer.log.append(f"{self.peer.name} ends")


def run(
    ours: FakePeer, theirs: FakePeer, cases: Sequence[ThroughputCase], rounds: int = 2
) -> tuple[Side, Side]:
    return compare(
        (ours, theirs), cases, SETUP, vocab_size=VOCAB, rounds=rounds,
        shares=lambda case, seconds: {"share_of_read": None if seconds is None else 0.5},
    )  # fmt: skip


def test_launches_are_fresh_and_take_turns() -> None:
    log: list[str] = []
    run(FakePeer("stagegate", log), FakePeer("other", log), [A], rounds=3)
    order = [line.partition(" ")[0] for line in log if line.endswith("starts")]
    assert order == ["stagegate", "other", "other", "stagegate", "stagegate", "other"]
    # One at a time: each has the machine for itself.
    assert [line.partition(" ")[2] for line in log] == ["starts", "ends"] * 6


def test_both_get_the_same_prompts_and_none_twice() -> None:
    ours, theirs = FakePeer("stagegate", []), FakePeer("other", [])
    run(ours, theirs, [E64, D], rounds=2)
    assert sorted(ours.prompts) == sorted(theirs.prompts)
    requests = 2 * (REPEATS + 1) * (2 * len(E64.requests) + len(D.requests))
    assert len(ours.prompts) == len(set(ours.prompts)) == requests


def test_every_round_is_a_sample() -> None:
    sides = run(FakePeer("stagegate", []), FakePeer("other", [], token_s=0.002), [A, D])
    ours, theirs = (
        as_cases(side, [A, D], model_digest="0" * 16, params={"model": "m"}) for side in sides
    )
    assert [case.name for case in ours] == [
        f"{START_UP}[stagegate]", "A[stagegate]", "D[stagegate]",
    ]  # fmt: skip
    for case, other in zip(ours, theirs, strict=True):
        assert case.workload_hash == other.workload_hash
        assert case.params | {"engine": "other"} == other.params
        assert {len(metric.samples) for metric in case.metrics} == {2}
        assert {metric.metric_class for metric in other.metrics} == {MetricClass.INFO}
        assert other.setup == {"version": "1"}
    record = sample_record("stage6").model_copy(update={"cases": (*ours, *theirs)})
    ratios = {item.case.name: item.gain and item.gain.ratio for item in peer_comparisons(record)}
    assert ratios == {
        f"{START_UP}[stagegate]": pytest.approx(1.0),
        "A[stagegate]": pytest.approx(2.0),
        "D[stagegate]": pytest.approx(2.0),
    }


@pytest.mark.parametrize("dies", [False, True])
def test_a_case_that_fails_is_invalid_and_the_others_go_on(dies: bool) -> None:
    log: list[str] = []
    ours, theirs = FakePeer("stagegate", log), FakePeer("other", log)
    theirs.dies = dies
    theirs.fails_on = str(A.requests[0].prompt_len)
    said: list[str] = []
    sides = compare(
        (ours, theirs), [A, D], SETUP, vocab_size=VOCAB, rounds=2,
        shares=lambda case, seconds: {}, say=said.append,
    )  # fmt: skip
    assert "round 1 of 2: other A failed: other: out of memory" in said
    # Started once more in the first round; in the second the case is not tried again.
    assert log.count("other starts") == log.count("other ends") == 2 + dies
    start, case, other = as_cases(sides[1], [A, D], model_digest="0" * 16, params={})
    assert case.invalid == ("other: out of memory\nand more",)
    assert (start.invalid, other.invalid) == ((), ())
    assert {len(metric.samples) for metric in other.metrics} == {2}
    ours_too = as_cases(sides[0], [A, D], model_digest="0" * 16, params={})
    record = sample_record("stage6").model_copy(update={"cases": (*ours_too, case, other)})
    gains = {item.case.name: item.gain for item in peer_comparisons(record)}
    assert gains["A[stagegate]"] is None
    assert gains["D[stagegate]"] is not None


def test_the_store_lists_the_newest_of_each_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    for second, token_s in enumerate((0.002, 0.004)):
        sides = run(FakePeer("stagegate", []), FakePeer("vllm", [], token_s=token_s), [A])
        cases = [
            case
            for side in sides
            for case in as_cases(side, [A], model_digest="0" * 16, params={"model": "qwen2-1.5b"})
        ]
        changes = {"cases": tuple(cases), "created": f"2026-01-02T03:04:{second:02}Z"}
        store.add(sample_record("stage6").model_copy(update=changes), f"v{second}")
    assert harness(["--store", str(store.root), "peers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # and of them none is of the older record
    [line] = [line for line in lines if line.startswith("A ")]
    assert line.split("  ") != []
    for words in ("qwen2-1.5b", "A processor ™", "vllm 1", "4.00x", "4.00x to 4.00x", "50.0 %"):
        assert words in line
    assert harness(["--store", str(store.root), "peers", "--stage", "stage5"]) == 0
    assert "`nox -s compare` makes one" in capsys.readouterr().out


DRIVER = Path(__file__).parent / "fake_driver.py"


@pytest.fixture
def peer(tmp_path: Path) -> OfflinePeer:
    return OfflinePeer("fake", DRIVER, Path(sys.executable), tmp_path / "log")


def state(monkeypatch: pytest.MonkeyPatch, **stated: object) -> None:
    monkeypatch.setenv("FAKE_ENGINE", json.dumps(stated))


def test_a_process_answers(peer: OfflinePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    state(monkeypatch, rate=1000)
    peer.check()
    running = peer.start(SETUP)
    try:
        assert running.setup == {"version": "1.2.3", "rate": 1000}
        assert running.startup_s > 0
        assert running.generate([[1, 2], [3]], [4, 6]) >= 0.01
        assert running.generate([[1, 2], [3]], [40, 60]) >= 0.1
    finally:
        running.end()
    assert running._process.returncode == 0
    assert "words of the engine 64" in peer.log.read_text()


def test_what_is_not_installed_is_named(peer: OfflinePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    state(monkeypatch, missing="no_such_engine")
    with pytest.raises(NotInstalledError, match="no_such_engine"):
        peer.check()


def test_an_interpreter_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch)
    with pytest.raises(PeerError, match=r"none cannot be run.*--peer-python"):
        OfflinePeer("fake", DRIVER, tmp_path / "none", tmp_path / "log").check()


def test_an_engine_that_does_not_start_says_why(
    peer: OfflinePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, does_not_start="no card")
    with pytest.raises(PeerError, match="fake: RuntimeError: no card"):
        peer.start(SETUP)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"fails": 1}, "fake: ValueError: a prompt of 3 is too long"),
        ({"dies": 1}, "fake ended without an answer; its last words:\n.*out of memory"),
        ({"lazy": True}, r"fake made \[4\] tokens, and was to make \[5\]"),
    ],
)
def test_a_request_that_fails_says_why(
    peer: OfflinePeer, monkeypatch: pytest.MonkeyPatch, stated: dict[str, object], said: str
) -> None:
    state(monkeypatch, **stated)
    running = peer.start(SETUP)
    try:
        with pytest.raises(PeerError, match=f"(?s){said}"):
            running.generate([[1, 2, 3]], [5])
    finally:
        running.end()
