"""Reasoning in text, however it is split into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.reasoning import ReasoningSplitter


def split(pieces: list[str], *, inside: bool = False) -> tuple[str, str]:
    splitter = ReasoningSplitter(inside=inside)
    parts = [splitter.push(piece) for piece in pieces] + [splitter.flush()]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


@pytest.mark.parametrize(
    ("text", "inside", "reasoning", "content"),
    [
        ("<think>why</think>\n\nAnswer.\n", False, "why", "Answer.\n"),
        ("\n <think>a</b></think>c", False, "a</b>", "c"),
        ("<think>cut o", False, "cut o", ""),
        ("<think>cut </thin", False, "cut </thin", ""),
        ("No thought.", False, "", "No thought."),
        (" \n", False, "", " \n"),
        (" \n<thin", False, "", " \n<thin"),
        (" \n<x", False, "", " \n<x"),
        ("<thin", False, "", "<thin"),
        ("<thinking>x</think>", False, "", "<thinking>x</think>"),
        ("First <think>x</think>", False, "", "First <think>x</think>"),
        ("<think></think>a</think>", False, "", "a</think>"),
        ("why</think>\nAnswer.", True, "why", "Answer."),
        ("<think>a</think>b", True, "<think>a", "b"),
        ("", True, "", ""),
    ],
)
def test_reasoning_and_content(text: str, inside: bool, reasoning: str, content: str) -> None:
    for pieces in ([text], list(text)):
        assert split(pieces, inside=inside) == (reasoning, content)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", "x", "\n", " "])),
    st.integers(1, 9),
    st.booleans(),
)
def test_pieces_make_no_difference(parts: list[str], length: int, inside: bool) -> None:
    text = "".join(parts)
    pieces = [text[at : at + length] for at in range(0, len(text), length)]
    assert split(pieces, inside=inside) == split([text], inside=inside)


@given(st.text().filter(lambda text: not text.lstrip().startswith("<think>")))
def test_a_model_that_does_not_think_loses_nothing(text: str) -> None:
    assert split(list(text)) == ("", text)
