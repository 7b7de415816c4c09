"""Progress bars for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Counts finished prompts and generated tokens; without a display it does nothing."""

    def __init__(self, display: Progress | None, task: TaskID | None) -> None:
        self._display = display
        self._task = task
        self._tokens = 0

    def advance(self, finished: int, new_tokens: int) -> None:
        """`finished` prompts are done in all; they brought `new_tokens` tokens more."""
        if self._display is None or self._task is None:
            return
        self._tokens += new_tokens
        elapsed = self._display.tasks[0].elapsed or 0.0
        rate = self._tokens / elapsed if elapsed > 0 else 0.0
        self._display.update(self._task, completed=finished, rate=f"{rate:.1f} tok/s")


@contextmanager
def progress_bar(total: int, *, enabled: bool) -> Iterator[Bar]:
    """A bar on standard error while the block runs; rich (extra "cli") draws it."""
    if not enabled:
        yield Bar(None, None)
        return
    with _display("generating", more="{task.fields[rate]}") as display:
        yield Bar(display, display.add_task("generate", total=total, rate=""))


@contextmanager
def capture_bar(*, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """Takes how many batch sizes a device is prepared for, of how many; shown from the first on."""
    with ExitStack() as stack:
        display: Progress | None = None

        def report(done: int, total: int) -> None:
            nonlocal display
            if not enabled:
                return
            if display is None:
                display = stack.enter_context(_display("preparing batches"))
                display.add_task("prepare", total=total)
            display.update(display.task_ids[0], completed=done)

        yield report


def _display(title: str, *, more: str | None = None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        *([] if more is None else [TextColumn(more)]),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
