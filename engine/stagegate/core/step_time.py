"""How long a step takes, learnt from those that have run, and what fits into a time."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from stagegate.execution.step import ScheduledStep

    Float64Array = npt.NDArray[np.float64]

# Steps of each kind that the model remembers, and how many with prompts it needs.
_REMEMBERED = 64
_NEEDED = 4
# Prompt tokens that a step takes whatever the time: prompts go on, if slowly.
_LEAST_TOKENS = 16
_MANY = 2**31
# What prices are shared by, relative to what the steps say.
_PRECISION = 1e-9


class StepShape(NamedTuple):
    """What the time of a step depends on.

    tokens: all of them. decode_context: tokens that the decodes see. prompt_tokens: of chunks of
    prompts. prompt_pairs: tokens that each of these sees, summed.
    """

    tokens: int
    decode_context: int
    prompt_tokens: int = 0
    prompt_pairs: float = 0.0


def shape_of(step: ScheduledStep) -> StepShape:
    starts = step.decodes.starts
    chunks = [(item.start, item.num_tokens) for item in step.chunks]
    prompt_tokens = sum(count for _, count in chunks)
    return StepShape(
        tokens=len(starts) + prompt_tokens,
        decode_context=int(starts.sum()) + len(starts),
        prompt_tokens=prompt_tokens,
        prompt_pairs=sum(count * start + count * (count + 1) / 2 for start, count in chunks),
    )


class StepCost(NamedTuple):
    """Seconds: of any step, a token, a token that decodes see, and one that a prompt token sees.

    A decode reads the keys and values it sees from memory. A chunk reads them once for all of its
    tokens and computes with them for each, so the two have prices of their own.
    """

    step: float
    token: float
    context: float
    pair: float

    def seconds(self, shape: StepShape) -> float:
        return (
            self.step
            + self.token * shape.tokens
            + self.context * shape.decode_context
            + self.pair * shape.prompt_pairs
        )

    def prompt_seconds(self, start: int, count: int) -> float:
        """Of prompt tokens from position `start` on."""
        return self.token * count + self.pair * (count * start + count * (count + 1) / 2)

    def prompt_tokens(self, start: int, seconds: float) -> int:
        """Most prompt tokens from position `start` on that take so long."""
        if seconds <= 0:
            return 0
        # prompt_seconds(start, n) = linear * n + pair / 2 * n**2
        linear = self.token + self.pair * (start + 0.5)
        slope = linear + math.sqrt(linear * linear + 2 * self.pair * seconds)
        return int(min(2 * seconds / slope, _MANY)) if slope > 0 else _MANY


class StepTimes:
    """Fits a StepCost to the last steps, by least squares of relative errors, none of it negative.

    The longer a step took, the less it counts. So one that took far longer than others like it, as
    when a kernel is loaded or the host is busy, changes little. Steps without prompts are
    remembered apart: there are many more of them, and a price of a prompt token needs the others.
    """

    def __init__(self) -> None:
        self._decodes: deque[tuple[StepShape, float]] = deque(maxlen=_REMEMBERED)
        self._with_prompts: deque[tuple[StepShape, float]] = deque(maxlen=_REMEMBERED)
        self._cost: StepCost | None = None
        self._is_fitted = False

    def observe(self, shape: StepShape, seconds: float) -> None:
        if seconds > 0:
            steps = self._with_prompts if shape.prompt_tokens else self._decodes
            steps.append((shape, seconds))
            self._is_fitted = False

    @property
    def most_prompt_tokens(self) -> int:
        """Of the steps that are remembered."""
        return max((shape.prompt_tokens for shape, _ in self._with_prompts), default=0)

    def cost(self) -> StepCost | None:
        """None while too few steps with prompts are known."""
        if not self._is_fitted and len(self._with_prompts) >= _NEEDED:
            self._cost = _fit([*self._decodes, *self._with_prompts])
            self._is_fitted = True
        return self._cost


class PromptBudget:
    """Prompt tokens of one step beside its decodes, so that it takes no longer than it may.

    What is not known is found out in small steps: a step has at most twice the prompt tokens of any
    that is remembered. There are always some, so that prompts go on.

    seconds: how long the step may take. decodes: its shape without prompts.
    """

    def __init__(self, times: StepTimes, seconds: float, decodes: StepShape) -> None:
        self._cost = times.cost()
        self._seconds = 0.0 if self._cost is None else seconds - self._cost.seconds(decodes)
        self._tokens = 2 * times.most_prompt_tokens
        self._taken = 0

    def most(self, start: int) -> int:
        """Tokens that a prompt may take from position `start` on."""
        least = max(_LEAST_TOKENS - self._taken, 0)
        if self._cost is None:
            return least
        fit = self._cost.prompt_tokens(start, self._seconds)
        return max(min(fit, self._tokens - self._taken), least)

    def take(self, start: int, count: int) -> None:
        self._taken += count
        if self._cost is not None:
            self._seconds -= self._cost.prompt_seconds(start, count)


def _fit(steps: list[tuple[StepShape, float]]) -> StepCost:
    seconds = np.array([taken for _, taken in steps])
    columns = np.array(
        [(1.0, one.tokens, one.decode_context, one.prompt_pairs) for one, _ in steps]
    )
    relative = columns / seconds[:, None]  # of which a fit makes ones
    scale = relative.max(axis=0)
    scale[scale == 0] = 1.0
    relative /= scale
    prices = _solve(relative.T @ relative, relative.sum(axis=0))
    return StepCost(*(prices / scale).tolist())


def _solve(gram: Float64Array, values: Float64Array) -> Float64Array:
    """Of the normal equations of a fit, without the unknowns that would be negative.

    What the steps do not tell apart shares its price.
    """
    found = np.zeros(len(values))
    used = np.arange(len(values))
    ridge = _PRECISION * np.trace(gram)
    while used.size:
        part = gram[np.ix_(used, used)] + ridge * np.eye(used.size)
        prices = np.linalg.solve(part, values[used])
        if (prices >= 0).all():
            found[used] = prices
            break
        used = np.delete(used, np.argmin(prices))
    return found
