"""Command line of the baseline store and the gate: python -m baselines COMMAND.

Exit status: 0 done, 1 refused, 2 wrong usage; of gate also 3 inconclusive, 4 not comparable.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from baselines.gate_command import add_gate, run_gate
from baselines.record_file import read_record
from baselines.records import Record
from baselines.store import Store, StoreError

STORE = Path(__file__).parent / "store"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m baselines", description=__doc__)
    parser.add_argument("--store", type=Path, default=STORE, help="folder of the store")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON Schema of a record")
    add = commands.add_parser("add", help="put the record of a run into the store")
    add.add_argument("file", type=Path, help="JSON file that a suite wrote")
    add.add_argument("--label", required=True, help="short name, such as a version")
    commands.add_parser("list", help="all records; a star marks the accepted ones")
    show = commands.add_parser("show", help="one record")
    show.add_argument("name", help="MACHINE/STAGE/NUMBER")
    accept = commands.add_parser("accept", help="make a record the baseline of its stage")
    accept.add_argument("name", help="MACHINE/STAGE/NUMBER")
    accept.add_argument("--why", required=True)
    accept.add_argument("--who")
    history = commands.add_parser("history", help="what was accepted, when and why")
    history.add_argument("name", help="MACHINE/STAGE")
    add_gate(commands.add_parser("gate", help="judge this tree against another revision"))
    given = sys.argv[1:] if argv is None else argv
    split = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:split])
    if arguments.command == "gate":
        return run_gate(arguments, given[split + 1 :])
    try:
        _run(arguments, Store(arguments.store))
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace, store: Store) -> None:
    match arguments.command:
        case "schema":
            print(json.dumps(Record.model_json_schema(), indent=2))
        case "add":
            print(store.add(read_record(arguments.file), arguments.label).name)
        case "list":
            _list(store)
        case "show":
            print(store.load(store.find(arguments.name)).model_dump_json(indent=2))
        case "accept":
            accepted = store.accept(
                store.find(arguments.name), why=arguments.why, who=arguments.who
            )
            print(f"{accepted.old or 'nothing'} -> {accepted.new}")
        case "history":
            for item in store.history(store.root / arguments.name):
                print(f"{item.when}  {item.new}  {item.who or '-'}  {item.why}")


def _list(store: Store) -> None:
    for entry in store.entries():
        record = store.load(entry)
        baseline = store.accepted(record.machine_key, record.stage or "none")
        star = "*" if baseline == entry else " "
        proved = sum(evidence.state == "proved" for evidence in record.evidence)
        print(
            f"{star} {entry.name}  {entry.label:20}  {record.created}  {len(record.cases)} cases  "
            f"{proved}/{len(record.evidence)} proved  {record.machine.cpu}"
        )


if __name__ == "__main__":
    sys.exit(main())
