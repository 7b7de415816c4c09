"""The actions of a user on the chat page."""

from __future__ import annotations

import json

from suites.online.webui.browser import Page

_ANSWERED = "document.getElementById('stop').hidden"


class ChatPage:
    def __init__(self, tab: Page, url: str) -> None:
        self.tab = tab
        self.url = url

    def open(self) -> None:
        self.tab.go(self.url)
        self.wait_ready()

    def wait_ready(self) -> None:
        self.tab.wait("document.querySelectorAll('#model option').length > 0 && location.hash")

    def reload(self) -> None:
        self.tab.reload()
        self.wait_ready()

    def send(self, text: str) -> None:
        """Types a message and sends it; does not wait for the answer."""
        self.tab.run("document.getElementById('prompt').focus()")
        self.tab.type(text)
        self.tab.press("Enter")

    def ask(self, text: str) -> str:
        """Send a message, wait until the answer is complete and return it."""
        before = self.count("article.assistant")
        self.send(text)
        self.wait_answer(before + 1)
        return self.texts(".answer")[-1]

    def wait_answer(self, number: int) -> None:
        self.tab.wait(
            f"document.querySelectorAll('article.assistant').length >= {number} && {_ANSWERED}"
        )

    def count(self, selector: str) -> int:
        found = self.tab.run(f"document.querySelectorAll({json.dumps(selector)}).length")
        return int(found)

    def texts(self, selector: str) -> list[str]:
        found = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"
        return [str(text) for text in self.tab.run(found)]

    def press_button(self, label: str, within: str = "body") -> None:
        """Clicks the last button of that label or text, as soon as there is one."""
        self.tab.wait(
            f"(found => found && (found.click(), true))("
            f"[...document.querySelectorAll({json.dumps(within + ' button')})].findLast("
            f"e => e.textContent.trim() === {json.dumps(label)}"
            f" || e.getAttribute('aria-label') === {json.dumps(label)}))"
        )
