"""One record: what one pytest process measured and proved.

A record is the "stagegate" section of a pytest-benchmark JSON file. The models check what comes
from a file; inside the program they are plain immutable values.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stagegate_baselines.escaping import printable
from stagegate_baselines.states import CriterionState

SCHEMA_VERSION: Final = 6


def _printable(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


# From exceptions, plugins, drivers and file names, which may hold what JSON readers refuse.
Text = Annotated[str, BeforeValidator(_printable)]
# Finite numbers only: JSON has no others.
Number = Annotated[float, Field(allow_inf_nan=False)]
Scalar = Text | int | Number | bool | None
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Better(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"


class MetricClass(StrEnum):
    """Decides the least margin of the gate: docs/gate.md has the table.

    info is recorded and shown, never judged.
    """

    KERNEL = "kernel"
    THROUGHPUT = "throughput"
    LATENCY_P50 = "latency-p50"
    LATENCY_P99 = "latency-p99"
    MEMORY = "memory"
    INFO = "info"


class Metric(Strict):
    """Samples of one quantity, one a round; None where a round could not give it.

    floor: absolute difference, in the unit, below which a change does not matter. cpu_samples: what
    the samples would be if a clock ran only while the process has a processor; empty where that
    means nothing, as for a count.
    """

    name: Text
    unit: Text
    better: Better
    metric_class: MetricClass
    floor: Number = 0.0
    samples: tuple[Number | None, ...]
    cpu_samples: tuple[Number | None, ...] = ()


class KernelTime(Strict):
    """All launches of the kernels of one name in a traced round."""

    name: Text
    calls: int
    total_us: Number


class CopyTime(Strict):
    """All copies of one direction in a traced round, "host to device" for example."""

    direction: Text
    count: int
    size_bytes: int
    total_us: Number


class HotPath(Strict):
    """What the GPUs did in one round that was traced and not timed.

    wall_us: of the round, as the host saw it. busy_us: of that, the time a GPU was at work; work of
    several streams at once counts once. kernels: the most costly first.
    """

    wall_us: Number
    busy_us: Number
    kernels: tuple[KernelTime, ...]
    copies: tuple[CopyTime, ...]

    @property
    def device_us(self) -> float:
        """Time of all kernels and copies, added up; what their shares are of."""
        return sum(item.total_us for item in self.kernels) + sum(
            item.total_us for item in self.copies
        )


class HostTime(Strict):
    """What the rounds of a case took of the host, in seconds, one value a round.

    wall: by a clock on the wall. cpu: user and system time of all threads of the process.
    children: the same of the processes it started. queued: time in which threads of the process
    could run and had no processor, added up; None where the kernel does not say.
    """

    wall: tuple[Number, ...]
    cpu: tuple[Number, ...]
    children: tuple[Number, ...]
    queued: tuple[Number, ...] | None


class Case(Strict):
    """One benchmark under one set of parameters.

    suite: folder below suites/. params: axes and workload, all that tells cases apart.
    workload_hash: of the code and parameters that define the work; cases compare when it is equal.
    model_digest: of the checkpoint's files. invalid: why the numbers must not be used.
    control: seconds that a fixed piece of host work took right before each round; control_cpu: of
    those, the seconds it had a processor. device_control: seconds of a fixed piece of work on the
    GPU, also before each round. Empty where they were not measured.
    host: None where it was not measured.
    hot_path: None where no GPU was traced. No gate looks at it.
    setup: versions and settings of the engine that ran it, where params name one by `engine`.
    """

    name: Text
    suite: Text
    params: dict[Text, Scalar]
    workload_hash: Digest
    model_digest: Digest | None
    metrics: tuple[Metric, ...]
    control: tuple[Number, ...] = ()
    control_cpu: tuple[Number, ...] = ()
    device_control: tuple[Number, ...] = ()
    host: HostTime | None = None
    invalid: tuple[Text, ...] = ()
    hot_path: HotPath | None = None
    setup: dict[Text, Scalar] = {}


class Gpu(Strict):
    name: Text
    memory_bytes: int
    driver: Text
    power_limit_w: Number | None
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    ecc: bool | None
    mig: bool | None


class Machine(Strict):
    """Hardware and what is set on it; nothing that names a person or a host."""

    cpu: Text
    physical_cores: int
    logical_cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]

    @property
    def kind(self) -> str:
        """Processor and GPUs: two machines of a kind may be set or stocked differently."""
        return " + ".join((self.cpu, *(gpu.name for gpu in self.gpus)))


class Environment(Strict):
    """Software: what a change may change."""

    python: Text
    compiler: Text
    build_type: Text
    cuda: Text | None
    onednn: Text | None
    packages: dict[Text, Text]
    variables: dict[Text, Text]  # OMP_*, CUDA_VISIBLE_DEVICES and the like
    num_threads: int
    git_revision: Text | None
    git_dirty: bool | None


class TelemetrySample(Strict):
    """State of one GPU, `seconds` after the run began."""

    seconds: Number
    gpu: int
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    power_w: Number | None
    temperature_c: int | None
    memory_used_bytes: int | None
    throttle_reasons: tuple[Text, ...]
    other_processes: int


class TestOutcome(Strict):
    """How one test ended. What was left out for one reason is counted by file.

    test: id, or the file of what was left out. cases: tests that it stands for.
    """

    test: Text
    outcome: Literal["passed", "failed", "skipped", "left-out"]
    seconds: Number
    reason: Text | None = None
    cases: int = 1


class Evidence(Strict):
    """What the tests behind a criterion gave.

    whole: `tests` has every test behind the criterion, those that were left out included; False
    where the run did not find out which there are.
    """

    criterion: Text
    sentence: Text
    state: CriterionState
    tests: tuple[TestOutcome, ...]
    whole: bool = False


class Record(Strict):
    """schema_version: older ones are upgraded on load. created: UTC, ISO 8601.

    machine_key and environment_key are digests of the two blocks. device and model_digest: what the
    evidence is about; None where there is none. interrupted: why the run ended before its last
    test; None where it did not. launch: which of several fresh processes this is, when a gate
    started it.
    """

    schema_version: Literal[6]
    created: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    stage: Text | None
    machine_key: Digest
    environment_key: Digest
    machine: Machine
    environment: Environment
    cases: tuple[Case, ...]
    evidence: tuple[Evidence, ...]
    device: Text | None = None
    model_digest: Digest | None = None
    interrupted: Text | None = None
    telemetry: tuple[TelemetrySample, ...] = ()
    launch: int | None = None
    # Where it came from when no run of ours made it.
    legacy: Text | None = None
