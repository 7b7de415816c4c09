"""Where the parts of a JSON Schema are, and where its references lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Keywords by what they hold: a schema, a list of schemas, schemas by name. `components` is where
# OpenAPI keeps what it calls `schemas`.
_ONE = frozenset(
    {
        *("items", "additionalItems", "contains", "additionalProperties", "propertyNames", "not"),
        *("if", "then", "else", "unevaluatedItems", "unevaluatedProperties", "components"),
    }
)
_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems", "items"))
_BY_NAME = frozenset(
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "schemas")
)


def with_subschemas(keyword: str, value: Any, change: Callable[[Any], Any]) -> Any:
    """The value of a keyword with the schemas in it changed; others, such as `const`, stay."""
    if keyword in _BY_NAME and isinstance(value, dict):
        return {name: change(schema) for name, schema in value.items()}
    if keyword in _LIST and isinstance(value, list):
        return [change(schema) for schema in value]
    if keyword in _ONE and isinstance(value, dict):
        return change(value)
    return value


class References:
    """Resolves the references within one schema, which are from its root.

    has_resources: a part of the schema is a resource with an `$id` of its own, so that references
    within it are from there; `target` does not follow them.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._anchors: dict[str, dict[str, Any]] = {}
        self.has_resources = False
        for schema in _all_schemas(root):
            anchor, identifier = schema.get("$anchor"), schema.get("$id")
            if isinstance(anchor, str):
                self._anchors.setdefault(anchor, schema)
            if isinstance(identifier, str) and schema is not root:
                self.has_resources = True

    def target(self, reference: object) -> dict[str, Any] | None:
        """The schema that a `$ref` stands for; None where there is none within the root."""
        if not isinstance(reference, str):
            return None
        base, _, fragment = reference.partition("#")
        if base not in ("", str(self._root.get("$id")).partition("#")[0]):
            return None
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        found: Any = self._root
        for part in unquote(fragment).split("/")[1:]:
            step = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                return None
        return found if isinstance(found, dict) else None


def _all_schemas(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting: list[Any] = [root]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, dict):
            yield schema
            for keyword, value in schema.items():
                with_subschemas(keyword, value, waiting.append)
