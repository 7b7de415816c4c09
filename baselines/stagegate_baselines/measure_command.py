"""stagegate-harness measure: launches of this tree, for the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stagegate_baselines.commands import show_noise
from stagegate_baselines.gate.base import LEAST_STORED_LAUNCHES
from stagegate_baselines.gate.escalation import Side
from stagegate_baselines.gate.launches import LaunchError, PytestSource, build
from stagegate_baselines.project import Project
from stagegate_baselines.records import Record
from stagegate_baselines.store import Store, StoreError


def add_measure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="a stage of the stages file")
    parser.add_argument(
        "--launches",
        type=int,
        default=LEAST_STORED_LAUNCHES,
        help=f"fresh processes; default: {LEAST_STORED_LAUNCHES}, what --mode stored needs",
    )
    parser.add_argument("--label", help="such as a version; default: how the git revision begins")
    parser.epilog = "What follows -- goes to pytest."


def run_measure(
    arguments: argparse.Namespace, project: Project, pytest_arguments: Sequence[str]
) -> int:
    """Exit status: 0 all launches are in the store, 1 one did not run or could not be stored."""
    store = Store(arguments.store or project.store)
    root = project.root
    try:
        print(f"building {root}", file=sys.stderr)
        build(project, root, arguments.stage, pytest_arguments)
        with TemporaryDirectory() as folder:
            source = PytestSource(
                {Side.NEW: root},
                stage=arguments.stage,
                arguments=pytest_arguments,
                folder=Path(folder),
            )
            launches = []
            for number in range(arguments.launches):
                record = as_launch(source.launch(Side.NEW, number), number)
                revision = record.environment.git_revision
                label = arguments.label or (revision[:8] if revision else "unversioned")
                print(store.add(record, label).name, flush=True)
                launches.append(record)
        show_noise(launches)
    except (LaunchError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def as_launch(record: Record, number: int) -> Record:
    """The record of one launch of a set: of its tests, only those that did not pass are kept.

    What a set proves is measured again by every launch, and a list of what passed says no more.
    """
    evidence = tuple(
        item.model_copy(
            update={
                "tests": tuple(test for test in item.tests if test.outcome != "passed"),
                "whole": False,
            }
        )
        for item in record.evidence
    )
    return record.model_copy(update={"launch": number, "evidence": evidence})
