"""python -m reports: write the report of some records."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from reports import csv_export, html, markdown
from reports.assemble import assemble
from reports.files import (
    ReportInputError,
    find_record,
    load_history,
    load_plans,
    load_record,
    load_verdicts,
)

ROOT = Path(__file__).parents[1]
OUT = ROOT / "reports" / "out"


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 when a file is not what it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Write report.html, report.md and report.csv."
    )
    parser.add_argument(
        "files", nargs="*", type=Path, help="records; by default those in reports/out"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to: %(default)s")
    parser.add_argument(
        "--history", nargs="+", type=Path, default=[], metavar="FILE",
        help="accepted versions, oldest first",
    )  # fmt: skip
    parser.add_argument("--verdicts", type=Path, metavar="FILE", help="what the gate said")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    options = parser.parse_args(arguments)
    try:
        if options.files:
            records = [load_record(path) for path in options.files]
        else:
            found = map(find_record, sorted(OUT.glob("*.json")))
            records = [record for record in found if record is not None]
        if not records:
            msg = f"no record in {OUT}: name some, or make one with nox -s suite -- stage0"
            raise ReportInputError(msg)
        report = assemble(
            load_plans(ROOT / "suites" / "stages.toml"),
            records,
            load_history(options.history),
            load_verdicts(options.verdicts) if options.verdicts else {},
        )
    except ReportInputError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    page = options.out / "report.html"
    for name, text in (
        (page.name, html.render(report)),
        ("report.md", markdown.render(report)),
        ("report.csv", csv_export.render(report)),
    ):
        # Bytes, as the line ends of CSV are not the platform's.
        (options.out / name).write_bytes(text.encode())
    print(page)
    if options.open:
        webbrowser.open(page.resolve().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
