"""A sampling parameter is the same to the engine and the core, and no device ignores one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagegate import _C
from stagegate._C import Context
from stagegate.sampling import DEFAULTS, ROW_RANGES, SamplingParams
from suites.ops import sampling_reference as reference
from suites.ops.sampling_batch import SCALARS, sample, sampling_tensors
from suites.ops.sampling_reference import Row

KERNELS = Path(__file__).parents[2] / "csrc" / "ops" / "sampling"
FILES = {"cpu": ["sampling_cpu.cpp"], "cuda": ["*.cu", "*.cuh"]}

LOGITS = np.random.default_rng(17).standard_normal(200).astype(np.float32) * 2
HISTORY = {int(token): count for count, token in enumerate(np.argsort(-LOGITS)[:20])}
# A row with each parameter at a value that changes what is sampled; without it the rest stays.
EFFECTS = {
    "temperature": Row(temperature=0.1),
    "top_k": Row(top_k=3),
    "top_p": Row(top_p=0.3),
    "min_p": Row(min_p=0.5),
    "repetition_penalty": Row(repetition_penalty=3.0, history=HISTORY),
    "presence_penalty": Row(presence_penalty=2.0, history=HISTORY),
    "frequency_penalty": Row(frequency_penalty=0.5, history=HISTORY),
    "seed": Row(seed=1),
    "draw_index": Row(draw_index=1 << 33),
}


def samples(row: Row) -> list[Row]:
    return [replace(row, draw_index=row.draw_index + index) for index in range(64)]


@pytest.mark.parametrize("name", SCALARS)
def test_what_is_sampled_depends_on_each_parameter(context: Context, name: str) -> None:
    assert name in EFFECTS, f"EFFECTS of {Path(__file__).name} needs a row for {name}"
    row = EFFECTS[name]
    without = replace(row, **{name: getattr(Row(), name)})
    tokens = sample(context, LOGITS, samples(row)).token_ids.tolist()
    assert tokens == [reference.draw(LOGITS, one) for one in samples(row)]
    assert tokens != sample(context, LOGITS, samples(without)).token_ids.tolist()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("parameter", _C.SAMPLING_PARAMETERS, ids=lambda parameter: parameter.name)
def test_the_kernels_of_each_device_read_each_parameter(
    kind: str, parameter: _C.SamplingParameter
) -> None:
    """Also where no such device is there to run the test above."""
    texts = [
        re.sub(r"//.*", "", file.read_text("utf-8"))
        for pattern in FILES[kind]
        for file in KERNELS.glob(pattern)
    ]
    assert any(re.search(rf"\b{parameter.name}\b", text) for text in texts), (
        f"no kernel for {kind} reads {parameter.name}"
    )


def test_the_engine_has_the_table_of_the_core() -> None:
    core = [(line.name, line.dtype, line.off) for line in _C.SAMPLING_PARAMETERS]
    engine = [
        (name, "i32" if span.integer else "f32", DEFAULTS[name])
        for name, span in ROW_RANGES.items()
    ]
    assert engine == core, "engine/stagegate/sampling.py and csrc/ops/sampling/parameters.h differ"


@pytest.mark.parametrize("name", ROW_RANGES)
def test_the_engine_keeps_the_tokens_that_a_parameter_looks_at(name: str) -> None:
    row = EFFECTS[name]
    params = SamplingParams(**{name: getattr(row, name)})
    assert params.has_penalty == bool(row.history)


@pytest.mark.parametrize("name", ROW_RANGES)
def test_the_core_takes_what_the_engine_takes(context: Context, name: str) -> None:
    span = ROW_RANGES[name]
    low = 2.0**-126 if span.above else span.low
    values: tuple[Any, ...] = (low, DEFAULTS[name], span.high)
    rows = [replace(Row(), **{name: value}) for value in values]
    assert (sample(context, LOGITS, rows).token_ids >= 0).all()


def test_off_is_as_if_there_were_no_parameter() -> None:
    assert {line.name: line.off for line in _C.SAMPLING_PARAMETERS} == {
        line.name: getattr(Row(), line.name) for line in _C.SAMPLING_PARAMETERS
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [({"min_p": ...}, "min_p is missing"), ({"nonsense": None}, "nonsense is no operand")],
)
def test_operands_are_those_of_the_table(
    context: Context, change: dict[str, Any], message: str
) -> None:
    tensors: dict[str, Any] = dict(sampling_tensors(context, [Row()])) | change
    with pytest.raises(TypeError, match=message):
        _C.SamplingInputs(**{k: v for k, v in tensors.items() if v is not ...})
