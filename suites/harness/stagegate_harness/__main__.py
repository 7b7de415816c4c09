"""The command line: stagegate-harness COMMAND, or python -m stagegate_harness COMMAND.

Exit status: 0 done, 1 refused or damaged, 2 wrong usage; of gate also 3 inconclusive, 4 not
comparable; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stagegate_baselines import commands, peers
from stagegate_baselines.export import export
from stagegate_baselines.gate.command import add_gate, run_gate
from stagegate_baselines.measure_command import add_measure, run_measure
from stagegate_baselines.path_arguments import absolute_paths
from stagegate_baselines.project import Project, ProjectError, find_project
from stagegate_baselines.store import Store, StoreError, UnknownRecordError
from stagegate_reports.command import add_report, write_report

Command = Callable[[argparse.Namespace, Store], None]
# Works on a project; takes what goes to pytest, and returns the exit status.
Worker = Callable[[argparse.Namespace, Project, Sequence[str]], int]


_FOLDERS = {
    "--root": "the project; default: the one around the current folder",
    "--store": "folder of the store; default: the project's",
}


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    split = given.index("--") if "--" in given else len(given)
    arguments = _parser().parse_args(given[:split])
    try:
        if arguments.worker is not None:
            work: Worker = arguments.worker
            project = find_project(arguments.root)
            # Launches work in the folders of their trees.
            return work(arguments, project, absolute_paths(given[split + 1 :], Path.cwd()))
        if arguments.command is commands.print_schema:
            commands.print_schema()
            return 0
        command: Command = arguments.command
        command(arguments, Store(arguments.store or find_project(arguments.root).store))
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnknownRecordError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stagegate-harness", description=__doc__)
    for option, words in _FOLDERS.items():
        parser.add_argument(option, type=Path, metavar="DIR", help=words)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def subparser(
        name: str,
        command: Callable[..., object] | None,
        text: str,
        worker: Worker | None = None,
    ) -> argparse.ArgumentParser:
        child = subparsers.add_parser(name, help=text, description=text)
        child.set_defaults(command=command, worker=worker)
        for option, words in _FOLDERS.items():
            child.add_argument(
                option, type=Path, metavar="DIR", default=argparse.SUPPRESS, help=words
            )
        return child

    def add_selection(child: argparse.ArgumentParser) -> None:
        child.add_argument("--machine", default="", metavar="KEY", help="or how it begins")
        child.add_argument("--stage", metavar="stageN")

    name = "MACHINE/STAGE/DIGEST, or an end of it, or a label, where that is one record"
    subparser("schema", commands.print_schema, "print the JSON Schema of a record")
    add = subparser("add", commands.add, "put the record of a run into the store")
    add.add_argument("file", type=Path, help="JSON file that a suite wrote")
    add.add_argument("--label", help="such as a version; default: how the git revision begins")
    add_selection(subparser("list", commands.list_records, "all records, and which are accepted"))
    show = subparser("show", commands.show, "one record")
    show.add_argument("name", help=name)
    show.add_argument("--json", action="store_true", help="print it as JSON")
    diff = subparser("diff", commands.diff, "medians of two records; judges nothing")
    diff.add_argument("old", help=name)
    diff.add_argument("new", help=name)
    accept = subparser("accept", commands.accept, "make a record the baseline of its stage")
    accept.add_argument("name", nargs="?", help=f"{name}; default: this machine's newest")
    accept.add_argument("--why", required=True)
    accept.add_argument("--who", help="a name to publish; default: none")
    accept.add_argument("--dirty", action="store_true", help="though the tree had changes")
    accept.add_argument(
        "--fewer-cases", action="store_true", help="though the present baseline has more"
    )
    accept.add_argument("--stage", metavar="stageN", help="of the newest")
    history = subparser("history", commands.history, "what was accepted, when and why")
    history.add_argument("case", nargs="?", help="show its medians, record by record, instead")
    add_selection(history)
    text = "this engine beside others: the newest record of each case and card"
    add_selection(subparser("peers", peers.show_peers, text))
    text = "a set of launches as a file for `pytest-benchmark compare`"
    child = subparser("export", export, text)
    child.add_argument("name", help=name)
    child.add_argument("file", type=Path, help="JSON file to write")
    subparser("repair", commands.repair, "bring a store of an older version into today's form")
    prune = subparser("prune", commands.prune, "delete old records of no set ever accepted")
    prune.add_argument("--keep", type=_positive, required=True, metavar="N", help="newest N stay")
    add_selection(prune)
    text = "judge this tree against what was accepted, or another revision"
    add_gate(subparser("gate", None, text, run_gate))
    add_measure(subparser("measure", None, "launches of this tree, for the store", run_measure))
    add_report(
        subparser("report", None, "write report.html, report.md and report.csv", write_report)
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        msg = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def run() -> int:
    """The console script: Ctrl-C ends it with a line."""
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted; a gate goes on from its finished launches next time", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
