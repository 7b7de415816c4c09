"""generation_config.json: what a model's authors recommend for sampling, and where text ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.models.json_object import JsonObject

FILE_NAME = "generation_config.json"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Sampling defaults of a checkpoint, in the meaning of SamplingParams.

    A key that the file leaves out is neutral here. Hugging Face would put its own defaults in,
    top_k 50 among them, which say nothing about the model.
    """

    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 is no limit
    repetition_penalty: float = 1.0
    eos_token_ids: tuple[int, ...] = ()

    @classmethod
    def read(cls, model: Path) -> GenerationConfig:
        """The file in the checkpoint folder `model`; all defaults when there is none.

        `do_sample: false` gives greedy, whatever temperature, top_p and top_k say, as in Hugging
        Face. Raises ModelError naming a value outside its range.
        """
        path = model / FILE_NAME
        if not path.exists():
            return cls()
        stated = JsonObject.read(path)
        greedy = not stated.flag("do_sample", default=True)
        temperature = _positive(stated, "temperature", zero=True)
        top_p = _positive(stated, "top_p", at_most=1.0)
        top_k = stated.integer("top_k", at_least=0) if "top_k" in stated else 0
        return cls(
            temperature=0.0 if greedy else temperature,
            top_p=1.0 if greedy else top_p,
            top_k=0 if greedy else top_k,
            repetition_penalty=_positive(stated, "repetition_penalty"),
            eos_token_ids=stated.token_ids("eos_token_id"),
        )


def _positive(
    stated: JsonObject, key: str, *, zero: bool = False, at_most: float | None = None
) -> float:
    """A number above 0 (or 0 itself when `zero`) and up to `at_most`; 1 when absent."""
    number = stated.number(key) if key in stated else 1.0
    if (number > 0 or (zero and number == 0)) and (at_most is None or number <= at_most):
        return number
    bounds = ("at least 0" if zero else "above 0") + (f", at most {at_most:g}" if at_most else "")
    raise stated.error(key, f"a number {bounds} is needed")
