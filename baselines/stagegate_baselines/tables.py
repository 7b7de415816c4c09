"""Tables for people: drawn on a terminal, plain columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stagegate_baselines.escaping import one_line


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows, a line each; nothing is cut off in a pipe."""
    rows = [tuple(map(one_line, row)) for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(Text, row))  # no cell is markup, whatever brackets it has
        Console().print(table)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def number(value: float | None) -> str:
    """Six significant digits; a dash for nothing."""
    return "-" if value is None else f"{value:.6g}"
