"""stagegate-harness report: write the report of some records."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from stagegate_baselines.gate.step_summary import add_to_step_summary
from stagegate_baselines.store import Store, StoreError
from stagegate_reports import csv_export, html, markdown
from stagegate_reports.assemble import assemble
from stagegate_reports.files import (
    ReportInputError,
    load_gate,
    load_history,
    load_pictures,
    load_plans,
    load_record,
)
from stagegate_reports.model import Report

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "out"


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", nargs="*", metavar="RECORD",
        help="a suite's JSON file, or the name of a record of the store; default: what is in "
        "reports/out",
    )  # fmt: skip
    parser.add_argument(
        "--gate", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder of a gate, for its launches and verdicts; may be given again",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help="where to write")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def write_report(arguments: argparse.Namespace, store: Store) -> int:
    """Exit status: 0 written, 1 a file is not what it should be or cannot be written."""
    try:
        report = build(arguments.records, arguments.gate, store)
    except (ReportInputError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    page = arguments.out / "report.html"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (page, html.render(report)),
            (page.with_suffix(".md"), markdown.render(report)),
            (page.with_suffix(".csv"), csv_export.render(report)),
        ):
            path.write_bytes(text.encode())  # the line ends of CSV are not the platform's
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; --out names another folder",
              file=sys.stderr)  # fmt: skip
        return 1
    add_to_step_summary(markdown.render(report))
    print(page)
    if arguments.open:
        show(page)
    return 0


def show(page: Path) -> None:
    """In the browser, if there is one."""
    if not webbrowser.open(page.resolve().as_uri()):
        print(f"no browser could be started: open {page} yourself", file=sys.stderr)


def build(names: Sequence[str], gate_folders: Sequence[Path], store: Store) -> Report:
    """The report of these records. Raises ReportInputError or StoreError."""
    gates = [load_gate(folder) for folder in gate_folders]
    # A run that was killed leaves an empty one.
    chosen = names or sorted(str(path) for path in OUT.glob("*.json") if path.stat().st_size)
    read = dict(load_record(name, store) for name in chosen)
    records = [*read.values(), *(record for gate in gates for record in gate.new)]
    if not records:
        msg = f"no record in {OUT}: name one, or make one with `nox -s suite -- stage0`"
        raise ReportInputError(msg)
    return assemble(
        load_plans(ROOT / "suites" / "stages.toml"),
        records,
        load_history(store, records, gates),
        gates,
        load_pictures(read),
    )
