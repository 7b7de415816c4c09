"""Options whose value is a path, for a process that works in another folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Of pytest and its plugins, of the report, of the store and of a comparison.
PATH_OPTIONS = frozenset(
    (
        "--model-path", "--benchmark-json", "--junitxml", "--junit-xml", "--basetemp",
        "--confcutdir", "--log-file", "--rootdir", "--gate", "--store", "--out", "--root",
        "--config", "--peer-python",
    )
)  # fmt: skip


def absolute_paths(arguments: Sequence[str], folder: Path) -> list[str]:
    """The arguments with each such option and its value in one word, the path seen from `folder`.

    One word, because a pytest that does not know an option yet takes a word after it for tests.
    """
    absolute = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in PATH_OPTIONS:
            absolute.append(word)
            continue
        stated = value if equals else next(words, None)
        if stated is None:
            absolute.append(word)  # for the command to complain about
            continue
        absolute.append(f"{option}={folder / Path(stated).expanduser()}")
    return absolute
