"""stagegate-harness gate: this tree against another revision or what was accepted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stagegate_baselines import fingerprint
from stagegate_baselines.escaping import markdown, one_line
from stagegate_baselines.gate import self_test
from stagegate_baselines.gate.annotations import annotate, annotate_failure
from stagegate_baselines.gate.base import (
    ACCEPTED,
    SELF,
    Base,
    Mode,
    NoBaseError,
    OnMismatch,
    choose_base,
)
from stagegate_baselines.gate.escalation import (
    CONFIRMING_LAUNCHES,
    Gate,
    GateResult,
    Progress,
    Side,
)
from stagegate_baselines.gate.findings import Revision, Verdicts, findings, write_verdicts
from stagegate_baselines.gate.junit import write_junit
from stagegate_baselines.gate.launches import LaunchError, PytestSource, build, run_in, state_of
from stagegate_baselines.gate.step_summary import add_to_step_summary
from stagegate_baselines.gate.summary import (
    EXPLANATIONS,
    clock_note,
    headline,
    markdown_table,
    text_table,
)
from stagegate_baselines.gate.verdict import Comparison
from stagegate_baselines.gate.worktrees import checked_out
from stagegate_baselines.project import Project, command_line
from stagegate_baselines.store import Store, StoreError


def add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="a stage of the stages file")
    parser.add_argument(
        "--against",
        default=ACCEPTED,
        metavar="accepted|REV",
        help="what was accepted for this stage (default), or a revision; 'self' runs this tree on "
        "both sides, as a null control",
    )
    parser.add_argument(
        "--mode",
        type=Mode,
        choices=Mode,
        default=Mode.PAIRED,
        help="paired builds the base and launches both in turn (default); stored compares with the "
        "accepted launches in the store",
    )
    parser.add_argument(
        "--on-mismatch",
        type=OnMismatch,
        choices=OnMismatch,
        default=OnMismatch.PAIRED,
        help="where nothing was accepted on this machine: build here what was accepted on another "
        "(paired, default), compare with its launches for advice, or fail",
    )
    parser.add_argument("--launches", type=_launches, help="launches a side; default: 5, then 8")
    parser.add_argument("--time-budget", type=float, metavar="S", help="begin none after S seconds")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="inconclusive and not comparable fail, in JUnit and on GitHub too",
    )
    parser.add_argument("--explain", action="store_true", help="say what each verdict means")
    parser.add_argument(
        "--self-test",
        type=int,
        nargs="?",
        const=1,
        metavar="N",
        help="judge the gate: N times a null control and two gates with planted slowdowns, of the "
        "cases in [tool.stagegate.self_test]",
    )
    parser.epilog = "What follows -- goes to pytest."


def out_of(project: Project) -> Path:
    """Where the gates of a project leave their launches, and check out other revisions."""
    return project.out / "gate"


def run_gate(
    arguments: argparse.Namespace, project: Project, pytest_arguments: Sequence[str]
) -> int:
    """Exit status: 0 passed, 1 regressed, invalid, a criterion failed or nothing ran,
    3 inconclusive, 4 not comparable.
    """
    try:
        if arguments.self_test is not None:
            return _self_test(arguments, project, pytest_arguments)
        base = choose_base(
            Store(arguments.store or project.store),
            stage=arguments.stage,
            machine_key=fingerprint.digest(fingerprint.machine()),
            against=arguments.against,
            mode=arguments.mode,
            on_mismatch=arguments.on_mismatch,
        )
        folder, result = _gate(arguments, project, base, pytest_arguments)
    except NoBaseError as error:
        print(f"error: {error}", file=sys.stderr)
        annotate_failure("nothing to compare with", str(error), red=arguments.strict)
        return 4
    except (LaunchError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        annotate_failure("the gate did not run", str(error), red=True)
        return 1
    _tell(arguments, base, folder, result)
    return result.exit_code


def _gate(
    arguments: argparse.Namespace,
    project: Project,
    base: Base,
    pytest_arguments: Sequence[str],
    *,
    plant: str = "",
    repeat: int = 0,
) -> tuple[Path, GateResult]:
    """Build what the gate needs, and run it; launches and verdicts are left in the folder."""
    root, out = project.root, out_of(project)
    with ExitStack() as stack:
        trees = {Side.NEW: root}
        if base.revision == SELF:
            trees[Side.BASE] = root
        elif base.revision is not None:
            trees[Side.BASE] = stack.enter_context(checked_out(root, base.revision, out))
        for tree in dict.fromkeys(trees.values()):
            print(f"building {tree}", file=sys.stderr)
            build(project, tree, arguments.stage, pytest_arguments)
        states = [state_of(tree, project.written) for tree in trees.values()]
        key = fingerprint.digest([arguments.stage, *pytest_arguments, plant, repeat, *states])
        folder = out / f"{arguments.stage}-{key}"
        gate = Gate(
            PytestSource(
                trees, stage=arguments.stage, arguments=pytest_arguments, folder=folder, plant=plant
            ),
            stored=base.stored,
            noise=base.noise,
            advisory=base.advisory,
            steps=None if arguments.launches is None else (arguments.launches,),
            time_budget_s=arguments.time_budget,
            progress=_report_progress,
        )
        print(_at_most(gate, arguments), file=sys.stderr)
        result = gate.run()
        sides = (
            _base_side(project, base, trees.get(Side.BASE)),
            _side(project, "this tree", root),
        )
    write_verdicts(folder / "verdict.json", _verdicts(arguments.stage, base, sides, result))
    write_junit(folder / "junit.xml", arguments.stage, result, strict=arguments.strict)
    return folder, result


def _verdicts(
    stage: str, base: Base, sides: tuple[Revision, Revision], result: GateResult
) -> Verdicts:
    machine = fingerprint.machine()
    return Verdicts(
        stage=stage,
        comparison=Comparison.PAIRED
        if not base.stored
        else Comparison.ADVISORY
        if base.advisory
        else Comparison.STORED,
        base=sides[0],
        new=sides[1],
        machine_key=fingerprint.digest(machine),
        machine=machine,
        exit_code=result.exit_code,
        launches=result.launches,
        seconds=result.seconds,
        out_of_time=result.out_of_time,
        failed_criteria=result.failed_criteria,
        judgements=findings(result),
    )


def _base_side(project: Project, base: Base, tree: Path | None) -> Revision:
    if tree is not None:
        return _side(project, base.name, tree)
    environment = base.stored[0].environment
    return Revision(name=base.name, revision=environment.git_revision, dirty=environment.git_dirty)


def _side(project: Project, name: str, tree: Path) -> Revision:
    revision, dirty = fingerprint.source_state(tree, project.written)
    return Revision(name=name, revision=revision, dirty=dirty)


def _self_test(
    arguments: argparse.Namespace, project: Project, pytest_arguments: Sequence[str]
) -> int:
    test = project.self_test
    if test is None:
        msg = (
            "--self-test needs [tool.stagegate.self_test] in pyproject.toml: cases = [two names], "
            'metrics = ["latency_us"] and arguments = [what selects them and others for pytest]'
        )
        raise LaunchError(msg)

    def run(number: int, plant: str) -> GateResult:
        print(f"gate {number}: {plant or 'nothing planted'}", file=sys.stderr)
        base = Base(SELF, revision=SELF)
        selection = [*test.arguments, *pytest_arguments]
        _, result = _gate(arguments, project, base, selection, plant=plant, repeat=number)
        return result

    if test.prepare:
        build(project, project.root, arguments.stage, pytest_arguments)
        run_in(project.root, command_line(test.prepare, root=str(project.root)))
    checks = self_test.run_self_test(run, test, arguments.self_test)
    text = self_test.table(checks)
    print(text)
    add_to_step_summary(f"```\n{text}\n```\n")
    return 0 if all(check.right for check in checks) else 1


def _tell(arguments: argparse.Namespace, base: Base, folder: Path, result: GateResult) -> None:
    title = f"{arguments.stage} against {base.name}: {headline(result)}"
    found = findings(result)
    print(text_table(found))
    if note := clock_note(found):
        print(one_line(note))
    reasons = dict.fromkeys(item.reason for item in result.judgements)
    if arguments.explain:
        for reason in reasons:
            print(f"{reason.value}: {EXPLANATIONS[reason]}")
    for detail in dict.fromkeys(item.detail for item in result.judgements if item.detail):
        print(one_line(detail))
    print(f"{title}\n{folder / 'verdict.json'}")
    annotate(result, strict=arguments.strict)
    add_to_step_summary(
        f"### {markdown(title)}\n\n{markdown_table(found)}\n{note and markdown(f'{note}.')}\n"
    )


def _at_most(gate: Gate, arguments: argparse.Namespace) -> str:
    words = f"at most {gate.most} launches a side, of which {CONFIRMING_LAUNCHES} confirm a change"
    if arguments.time_budget is not None:
        words += f"; none begins after {_duration(arguments.time_budget)}"
    return words


def _report_progress(progress: Progress) -> None:
    words = f"launch {progress.launches + 1} of {progress.target} a side"
    if (most := progress.most_seconds) is not None:
        words += (
            f" after {_duration(progress.seconds)}; the gate takes at most {progress.most} "
            f"launches a side, {_duration(most)}"
        )
    print(words, file=sys.stderr)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _launches(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        msg = f"{text!r} is not a number of launches; an interval needs two or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
