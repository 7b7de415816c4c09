"""python -m suites.online.load: put load on a server and print the latencies that clients saw."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stagegate.errors import TokenizerError
from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.client import Target
from suites.online.load.endpoints import Endpoint
from suites.online.load.errors import LoadError
from suites.online.load.lengths import FORMS, Lengths
from suites.online.load.load_run import LoadRun, run_load
from suites.online.load.objective import Objective
from suites.online.load.report import LoadReport, report_of
from suites.online.load.table import format_report
from suites.online.load.words import Words
from suites.online.load.workload import WorkloadSettings, draw_conversations

API_KEY_VARIABLE = "STAGEGATE_API_KEY"


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 some request completed, 1 none did, 2 wrong usage."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        target, arrival = _target(arguments), _arrival(arguments)
        objective = None if arguments.slo is None else Objective.parse(arguments.slo)
        settings = _workload(arguments)
        known = arguments.tokenizer
        words = Words.english() if known is None else Words.of_checkpoint(known)
    except (LoadError, TokenizerError) as error:
        parser.error(str(error))
    if arguments.json is not None and not arguments.json.parent.is_dir():
        parser.error(f"--json: no folder {arguments.json.parent}")
    conversations = draw_conversations(settings, words)
    run = run_load(target, conversations, arrival, seed=arguments.seed)
    report = report_of(run, objective)
    print(format_report(report, objective))
    if arguments.json is not None:
        written = _document(arguments, run, report)
        arguments.json.write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    if not report.completed:
        print("error: no request completed", file=sys.stderr)
    return 0 if report.completed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m suites.online.load", description=__doc__)
    parser.add_argument("--url", required=True, help="of any OpenAI-compatible server")
    parser.add_argument("--model", required=True, help="name the server knows it by")
    parser.add_argument("--api-key", help=f"default: {API_KEY_VARIABLE}")
    parser.add_argument(
        "--endpoint", choices=[*Endpoint], type=Endpoint, default=Endpoint.CHAT, help="[chat]"
    )
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a request [120]")
    parser.add_argument(
        "--body", metavar="JSON", default="{}",
        help='fields every request has too, like {"temperature": 0, "ignore_eos": true}',
    )  # fmt: skip
    arrival = parser.add_argument_group("arrival, one of").add_mutually_exclusive_group(
        required=True
    )
    arrival.add_argument("--concurrency", type=int, help="closed loop: requests open at all times")
    arrival.add_argument("--rate", type=float, help="open loop: conversations begun a second")
    parser.add_argument("--burst", type=int, help="with --rate: how many begin at once [1]")
    work = parser.add_argument_group("workload")
    work.add_argument("--requests", type=int, required=True, help="in all")
    work.add_argument("--prompt-tokens", default="64", metavar="LENGTH", help=f"{FORMS} [64]")
    work.add_argument("--output-tokens", default="64", metavar="LENGTH", help="the same [64]")
    work.add_argument(
        "--shared-prefix", default="0", metavar="TOKENS[:GROUPS]",
        help="text in front of prompts, the same in each of so many groups [none]",
    )  # fmt: skip
    work.add_argument("--turns", type=int, default=1, help="requests a conversation [1]")
    work.add_argument(
        "--tokenizer", type=Path, metavar="DIR",
        help="checkpoint whose words make prompts of exact length; else common English words",
    )  # fmt: skip
    work.add_argument("--seed", type=int, default=0, help="of texts, lengths and times [0]")
    parser.add_argument("--slo", metavar="ttft=MS,tpot=MS,e2e=MS", help="any of them, for goodput")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report and every request")
    return parser


def _target(arguments: argparse.Namespace) -> Target:
    try:
        fields = json.loads(arguments.body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        msg = f"--body: {arguments.body!r} is no JSON object"
        raise LoadError(msg)
    return Target(
        arguments.url,
        arguments.model,
        arguments.endpoint,
        arguments.api_key or os.environ.get(API_KEY_VARIABLE) or None,
        arguments.timeout,
        fields,
    )


def _arrival(arguments: argparse.Namespace) -> ClosedLoop | OpenLoop:
    if arguments.concurrency is None:
        return OpenLoop(arguments.rate, 1 if arguments.burst is None else arguments.burst)
    if arguments.burst is not None:
        msg = "--burst goes with --rate: a closed loop begins a request when one has ended"
        raise LoadError(msg)
    return ClosedLoop(arguments.concurrency)


def _workload(arguments: argparse.Namespace) -> WorkloadSettings:
    tokens, separator, groups = arguments.shared_prefix.partition(":")
    if not tokens.isdecimal() or (separator and not groups.isdecimal()):
        msg = f"--shared-prefix: {arguments.shared_prefix!r} is no TOKENS[:GROUPS]"
        raise LoadError(msg)
    return WorkloadSettings(
        arguments.requests,
        Lengths.parse(arguments.prompt_tokens),
        Lengths.parse(arguments.output_tokens),
        int(tokens),
        int(groups or 1),
        arguments.turns,
        (arguments.seed,),
    )


def _document(arguments: argparse.Namespace, run: LoadRun, report: LoadReport) -> dict[str, Any]:
    """The options, the report, and every request. No API key."""
    options = {name: value for name, value in vars(arguments).items() if name != "api_key"}
    options |= {name: str(value) for name, value in options.items() if isinstance(value, Path)}
    return {
        "options": options,
        "report": asdict(report),
        "requests": [result.as_dict() for result in run.results],
    }
