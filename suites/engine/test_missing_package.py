"""What is asked for without the package that it needs is refused with the package's name."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from stagegate.errors import MissingPackageError
from stagegate.structured.grammar import Grammar


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grammar.regex("[a-c]{1,77}"),
        lambda: Grammar.choice(["without", "the package"]),
        lambda: Grammar.context_free('root ::= "without the package"'),
        lambda: Grammar.json_schema({"type": "object", "title": "without the package"}),
    ],
    ids=["regex", "choice", "context-free", "json-schema"],
)
def test_a_grammar_without_its_library_names_it(
    make: Callable[[], Grammar], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*filter(lambda name: name.startswith("llguidance"), sys.modules), "llguidance"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match="pip install llguidance"):
        make()
