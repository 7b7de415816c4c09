"""Stop strings cut a stream exactly, however it is split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.stopping import StopMatcher

# A token that is no part of the text; its text has letters of the others.
HIDDEN = "<b>"
# Few letters make overlaps, repeats and near misses common.
texts = st.text(alphabet="abé😀", max_size=24)
stops = st.lists(st.text(alphabet="abé😀", min_size=1, max_size=5), max_size=4).map(tuple)


def split(text: str, cuts: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(bounds)]


def whole_text_cut(text: str, stop: tuple[str, ...], *, include: bool) -> tuple[str, str | None]:
    """The rule on the whole text: the first match to end, the longer of two that end together."""
    for end in range(1, len(text) + 1):
        found = [word for word in stop if text[:end].endswith(word)]
        if found:
            word = max(found, key=len)
            return text[: end if include else end - len(word)], word
    return text, None


@given(text=texts, stop=stops, cuts=st.lists(st.integers(0, 99), max_size=8), include=st.booleans())
def test_any_split_gives_the_cut_of_the_whole(
    text: str, stop: tuple[str, ...], cuts: list[int], include: bool
) -> None:
    matcher = StopMatcher(stop, include_stop_str_in_output=include)
    seen = ""
    for piece in split(text, cuts):
        seen += matcher.push(piece)
    seen += matcher.flush()
    assert (seen, matcher.matched) == whole_text_cut(text, stop, include=include)


@given(text=texts, stop=stops)
def test_only_a_possible_beginning_is_held_back(text: str, stop: tuple[str, ...]) -> None:
    matcher = StopMatcher(stop)
    seen = ""
    for count, letter in enumerate(text, start=1):
        seen += matcher.push(letter)
        if matcher.matched is not None:
            return
        held = text[len(seen) : count]
        assert text.startswith(seen)
        assert held == "" or any(word.startswith(held) for word in stop)


def test_after_a_match_nothing_is_visible() -> None:
    matcher = StopMatcher(("stop",))
    assert matcher.push("go stop go") == "go "
    assert matcher.push("more") == ""
    assert matcher.flush() == ""
    assert matcher.matched == "stop"


@pytest.mark.parametrize(
    ("stop", "text", "visible", "matched"),
    [
        (("ab", "b"), "xab", "x", "ab"),  # complete together: the one that begins earlier
        (("abc", "b"), "xabc", "xa", "b"),  # complete first
        (("aab",), "aaab", "a", "aab"),
        (("\n\n",), "one\n\ntwo", "one", "\n\n"),
    ],
)
def test_which_match_counts(stop: tuple[str, ...], text: str, visible: str, matched: str) -> None:
    for pieces in ([text], list(text)):
        matcher = StopMatcher(stop)
        assert "".join(map(matcher.push, pieces)) + matcher.flush() == visible
        assert matcher.matched == matched


def cut_across_hidden(
    pieces: list[str], stop: tuple[str, ...], *, include: bool
) -> tuple[str, str | None]:
    """The rule on the whole text, in which each HIDDEN is a hidden token.

    A match is one of the text without them, or with them where it does not cut one in two.
    """
    whole = "".join(pieces)
    bounds = [0, *itertools.accumulate(map(len, pieces))]
    spans = [
        (begin, begin + len(piece))
        for begin, piece in zip(bounds, pieces, strict=False)
        if piece == HIDDEN
    ]
    shown = [not any(b <= at < e for b, e in spans) for at in range(len(whole))]

    def visible(end: int) -> str:
        return "".join(letter for at, letter in enumerate(whole[:end]) if shown[at])

    def cut(at: int) -> bool:
        return any(b < at < e for b, e in spans)

    for end in range(1, len(whole) + 1):
        found = []
        for word in stop:
            if shown[end - 1] and visible(end).endswith(word):
                places = [at for at in range(end) if shown[at]]
                found.append((places[-len(word)], word))
            begin = end - len(word)
            if whole[:end].endswith(word) and not cut(begin) and not cut(end):
                found.append((begin, word))
        if found:
            begin, word = min(found)
            return visible(begin) + (word if include else ""), word
    return visible(len(whole)), None


hidden_or_not = st.just(HIDDEN) | st.text("ab<>", min_size=1, max_size=3)
words = st.lists(st.sampled_from(["a", "b", "<", ">", HIDDEN]), min_size=1, max_size=3).map("".join)


@given(
    pieces=st.lists(hidden_or_not, max_size=9),
    stop=st.lists(words, max_size=3).map(tuple),
    include=st.booleans(),
)
def test_a_stop_string_may_hold_a_hidden_token_as_a_whole(
    pieces: list[str], stop: tuple[str, ...], include: bool
) -> None:
    matcher = StopMatcher(stop, include_stop_str_in_output=include)
    seen = "".join(matcher.push(piece, hidden=piece == HIDDEN) for piece in pieces)
    seen += matcher.flush()
    assert (seen, matcher.matched) == cut_across_hidden(pieces, stop, include=include)


def test_a_hidden_token_is_never_visible() -> None:
    for stop in ((), ("never",), ("x" + HIDDEN,), (HIDDEN + "x",)):
        matcher = StopMatcher(stop)
        assert matcher.push("a") + matcher.push(HIDDEN, hidden=True) + matcher.flush() == "a"
