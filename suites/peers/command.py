"""Compares this engine with another one: python -m suites.peers --peer vllm|transformers [...]

Both run the offline cases of stage 6 on one checkpoint, each in a process and an interpreter of its
own, one after the other, in every round. One record of both is written, which `stagegate-harness
add` puts into the store and the report shows.

Exit status: 0 compared, or skipped because the peer is not installed; 1 an engine did not start, or
a case failed; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from stagegate.errors import StagegateError
from stagegate.models.registry import load_model_config
from stagegate_baselines.fingerprint import model_digest
from stagegate_baselines.peers import OURS, peer_comparisons, show_comparisons
from stagegate_baselines.project import Project, find_project
from stagegate_baselines.record_file import SECTION
from stagegate_baselines.records import Record
from stagegate_harness.options import positive
from suites.models.random_qwen2 import write_random_qwen2
from suites.offline.least_work import case_work
from suites.offline.throughput_cases import ThroughputCase, cases_for
from suites.offline.throughput_model import DIMENSIONS, preset_for
from suites.peers.comparison import as_cases, compare
from suites.peers.machine_ceilings import measured_apart
from suites.peers.peer import (
    OFFLINE_DRIVERS,
    NotInstalledError,
    OfflinePeer,
    PeerError,
    Setup,
)
from suites.peers.recording import record_of

# Where a peer runs when nobody says: the only place it is made for.
_DEVICES = {"vllm": "nvidia"}


def main(argv: Sequence[str] | None = None) -> int:
    project = find_project(None)
    arguments = _parser(project).parse_args(argv)
    device = project.devices[
        arguments.device or _DEVICES.get(arguments.peer, next(iter(project.devices)))
    ]
    try:
        cases = chosen_cases(arguments.cases, device)
        with TemporaryDirectory() as scratch:
            record = _compared(arguments, project, device, cases, Path(scratch))
    except NotInstalledError as error:
        print(f"skipped: not installed: {error}")
        return 0
    except (PeerError, StagegateError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    file = project.out / f"compare-{arguments.peer}.json"
    file.write_text(json.dumps({SECTION: record.model_dump(mode="json")}), "utf-8")
    show_comparisons([(item, record) for item in peer_comparisons(record)])
    print(f"record: {file}")
    return int(any(case.invalid for case in record.cases))


def chosen_cases(names: str | None, device: str) -> list[ThroughputCase]:
    """The cases of a device, or some of them. Raises ValueError for a name that it has not."""
    known = cases_for(device)
    wanted = list(known) if names is None else names.split(",")
    if unknown := [name for name in wanted if name not in known]:
        msg = f"--cases: unknown {', '.join(unknown)}; known: {', '.join(known)}"
        raise ValueError(msg)
    return [known[name] for name in dict.fromkeys(wanted)]


def _compared(
    arguments: argparse.Namespace,
    project: Project,
    device: str,
    cases: Sequence[ThroughputCase],
    scratch: Path,
) -> Record:
    """Both engines on the cases; the record of what they gave."""
    project.out.mkdir(parents=True, exist_ok=True)
    log = project.out / f"compare-{arguments.peer}.log"
    log.write_bytes(b"")
    here = Path(sys.executable)
    theirs = OfflinePeer(
        arguments.peer, OFFLINE_DRIVERS[arguments.peer], arguments.peer_python or here, log
    )
    theirs.check()  # before anything takes long
    folder = arguments.config or _random_checkpoint(scratch, device)
    model = load_model_config(folder)
    ceilings = measured_apart(device, arguments.num_threads)
    sides = compare(
        (OfflinePeer(OURS, OFFLINE_DRIVERS[OURS], here, log), theirs),
        cases,
        Setup(
            model=folder,
            device=device,
            max_model_len=max(case.longest for case in cases),
            num_threads=arguments.num_threads,
        ),
        vocab_size=model.decoder.vocab_size,
        rounds=arguments.rounds,
        shares=lambda case, seconds: case_work(model, case).shares(seconds, ceilings),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    digest = model_digest(folder)
    params = {"model": folder.name, "num_threads": arguments.num_threads}
    measured = [
        case for side in sides for case in as_cases(side, cases, model_digest=digest, params=params)
    ]
    return record_of(project, device, arguments.num_threads, digest, measured)


def _random_checkpoint(scratch: Path, device: str) -> Path:
    preset = preset_for(device)
    return write_random_qwen2(scratch / preset, DIMENSIONS[preset])


def _parser(project: Project) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s compare --",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peer", required=True, choices=[name for name in OFFLINE_DRIVERS if name != OURS]
    )
    parser.add_argument(
        "--peer-python", type=Path, metavar="PATH",
        help="the interpreter that has the peer; default: the one that runs this",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="DIR",
        help="a checkpoint; default: random weights, with the dimensions of Qwen2-1.5B on a GPU",
    )  # fmt: skip
    parser.add_argument(
        "--cases", metavar="A,B,...", help=f"default: {','.join(cases_for('cuda'))}"
    )
    parser.add_argument(
        "--rounds", type=positive, default=3, metavar="N",
        help="launches of each engine; default: 3. One gives no interval",
    )  # fmt: skip
    parser.add_argument("--device", choices=tuple(project.devices))
    parser.add_argument(
        "--num-threads", type=positive, default=len(os.sched_getaffinity(0)), metavar="N"
    )
    return parser
