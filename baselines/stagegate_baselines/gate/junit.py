"""What a gate found as JUnit's XML, which CI systems show beside the tests."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from stagegate_baselines import escaping
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.findings import findings
from stagegate_baselines.gate.summary import is_red, sentence
from stagegate_baselines.states import Verdict


def write_junit(path: Path, stage: str, result: GateResult, *, strict: bool = False) -> None:
    """A test case for each finding: red ones fail, those that say nothing are skipped.

    All cases share the launches, so each has the same part of the gate's time.
    """
    suite = ElementTree.Element("testsuite", name=escaping.xml(f"gate {stage}"))
    found = findings(result)
    count = len(found) + len(result.failed_criteria)
    time = f"{result.seconds / max(1, count):.3f}"
    failures = skipped = 0
    for item in found:
        element = _case(suite, item.case, item.metric, time)
        words = escaping.xml(sentence(item))
        if is_red(item, advisory=result.advisory, strict=strict):
            failures += 1
            ElementTree.SubElement(element, "failure", message=words, type=item.verdict.value)
        elif item.verdict not in (Verdict.UNCHANGED, Verdict.IMPROVED):
            skipped += 1
            ElementTree.SubElement(element, "skipped", message=words, type=item.verdict.value)
        else:
            ElementTree.SubElement(element, "system-out").text = words
    for criterion in result.failed_criteria:
        failures += 1
        element = _case(suite, criterion, "criterion", time)
        words = "a test that proves it failed"
        ElementTree.SubElement(element, "failure", message=words, type="failed")
    suite.attrib.update(
        tests=str(count),
        failures=str(failures),
        skipped=str(skipped),
        time=f"{result.seconds:.3f}",
    )
    ElementTree.indent(suite)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _case(suite: ElementTree.Element, classname: str, name: str, time: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite,
        "testcase",
        classname=escaping.xml(classname),
        name=escaping.xml(name),
        time=time,
    )
