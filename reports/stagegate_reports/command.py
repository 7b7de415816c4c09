"""stagegate-harness report: write the report of some records."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from stagegate_baselines.gate.step_summary import add_to_step_summary
from stagegate_baselines.project import Project
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


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "records", nargs="*", metavar="RECORD",
        help="a suite's JSON file, or the name of a record of the store; default: those of "
        "the last runs",
    )  # fmt: skip
    parser.add_argument(
        "--gate", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder of a gate, for its launches and verdicts; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write; default: [tool.stagegate] out"
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def write_report(arguments: argparse.Namespace, project: Project, _: Sequence[str]) -> int:
    """Exit status: 0 written, 1 a file is not what it should be or cannot be written."""
    try:
        store = Store(arguments.store or project.store)
        report = build(arguments.records, arguments.gate, project, store)
    except (ReportInputError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    page = (arguments.out or project.out) / "report.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
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


def build(
    names: Sequence[str], gate_folders: Sequence[Path], project: Project, store: Store
) -> Report:
    """The report of these records. Raises ReportInputError or StoreError."""
    gates = [load_gate(folder) for folder in gate_folders]
    # A run that was killed leaves an empty one.
    found = sorted(path for path in project.out.glob("*.json") if path.stat().st_size)
    chosen = names or list(map(str, found))
    read = dict(load_record(name, store) for name in chosen)
    records = [*read.values(), *(record for gate in gates for record in gate.new)]
    if not records:
        msg = (
            f"no record in {project.out}: name one, or make one with `pytest --stage NAME "
            f"--benchmark-json {project.out / 'NAME.json'}`"
        )
        raise ReportInputError(msg)
    return assemble(
        load_plans(project.stages),
        records,
        load_history(store, records, gates),
        gates,
        load_pictures(read),
        title=project.title,
    )
