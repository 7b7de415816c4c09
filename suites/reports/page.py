"""An HTML page taken apart, with what is wrong about its structure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}

# Elements that the start of another ends: HTML lets their end tags be left out.
IMPLIED = {
    "td": {"td", "th", "tr"},
    "th": {"td", "th", "tr"},
    "tr": {"tr"},
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
}
PARENTS_THAT_END = {"tbody", "thead", "table"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str | None = None, **attributes: str) -> Iterator[Element]:
        """Descendants of a tag that have these attributes; class_ stands for one of the classes."""
        for child in self.children:
            if isinstance(child, Element):
                if child._matches(tag, attributes):
                    yield child
                yield from child.all(tag, **attributes)

    def one(self, tag: str | None = None, **attributes: str) -> Element:
        found = list(self.all(tag, **attributes))
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]

    @property
    def text(self) -> str:
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())

    @property
    def ancestors(self) -> list[str]:
        return [] if self.parent is None else [self.parent.tag, *self.parent.ancestors]

    def _matches(self, tag: str | None, attributes: dict[str, str]) -> bool:
        wanted = dict(attributes)
        name = wanted.pop("class_", None)
        if name is not None and name not in (self.attributes.get("class") or "").split():
            return False
        return tag in (None, self.tag) and all(
            self.attributes.get(key) == value for key, value in wanted.items()
        )


class Page(HTMLParser):
    """root: the document. errors: tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {}, None)
        self.errors: list[str] = []
        self._open = self.root
        self.feed(text)
        self.close()
        if self._open is not self.root:
            self.errors.append(f"<{self._open.tag}> is not closed")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        while tag in IMPLIED.get(self._open.tag, ()):
            self._leave()
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.errors.append(f"<{tag}> has an attribute twice: {names}")
        element = Element(tag, dict(attrs), self._open)
        self._open.children.append(element)
        if tag not in VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.children.append(Element(tag, dict(attrs), self._open))

    def handle_endtag(self, tag: str) -> None:
        while (
            self._open.tag != tag and self._open.tag in IMPLIED and tag in PARENTS_THAT_END | {"tr"}
        ):
            self._leave()
        if self._open.tag == tag:
            self._leave()
        else:
            self.errors.append(f"</{tag}> at {self.getpos()} inside <{self._open.tag}>")

    def handle_data(self, data: str) -> None:
        self._open.children.append(data)

    def _leave(self) -> None:
        assert self._open.parent is not None
        self._open = self._open.parent
