"""Who executes steps, as the engine sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagegate.execution.step import ScheduledStep, StepOutput
    from stagegate.kv.manager import KVTables


class PendingStep(Protocol):
    """A step that was submitted."""

    def wait(self) -> StepOutput:
        """The result, when it is there. Called once, in the order of the steps.

        StagegateError fails the requests of the step.
        """


class Executor(Protocol):
    """Executes what the scheduler decides. What arrays a step takes is known here alone."""

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        """Allocate the memory for steps, and return the bytes that are left for the KV storage.

        Called once, before `allocate`. max_tokens, max_rows: most tokens and rows of logits of a
        step. max_positions: positions run from 0 to max_positions - 1.
        """

    def allocate(self, tables: KVTables) -> None:
        """Allocate the KV storage: room for `tables.num_slots` tokens. Called once.

        tables: says from now on which slots the tokens of a step have.
        """

    @property
    def memory_bytes(self) -> dict[str, int]:
        """What the bytes allocated on the device are for."""

    @property
    def overlaps(self) -> bool:
        """Whether a step runs while its caller goes on; else `submit` takes as long as the step."""

    def submit(self, step: ScheduledStep) -> PendingStep:
        """Build the inputs of a step with at least one sequence, and start it.

        Its result is waited for before the second step after this one is submitted. `sampled_row`
        refers to what the step submitted before this one samples. StagegateError fails the requests
        of the step.
        """
