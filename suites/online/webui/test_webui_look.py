"""Appearance of the page on a desktop and a phone, in light and dark mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.online.webui.chat_page import ChatPage
from suites.online.webui.fake_server import FakeServer

SIZES = {"desktop": (1440, 900, False), "phone": (360, 740, True)}
NO_SCROLLING = "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_screens(chat: ChatPage, pictures: Path, size: str, scheme: str) -> None:
    width, height, mobile = SIZES[size]
    chat.tab.resize(width, height, mobile=mobile)
    chat.tab.prefer(scheme)
    chat.reload()
    chat.tab.screenshot(pictures / f"chat-page-{size}-{scheme}-empty.png")
    chat.ask("Show me how prefix caching works, with an example.")
    assert chat.tab.run(NO_SCROLLING)
    assert chat.tab.run("document.querySelector('#messages').scrollWidth") <= width
    chat.tab.screenshot(pictures / f"chat-page-{size}-{scheme}.png")
    if mobile:
        for name in ("sidebar", "panel"):
            chat.tab.click(f"#show-{name}")
            chat.tab.wait(f"document.getElementById('{name}').classList.contains('shown')")
            assert chat.tab.run("document.querySelector('main').inert")
            chat.tab.screenshot(pictures / f"chat-page-{size}-{scheme}-{name}.png")
            chat.tab.press("Escape")
            chat.tab.wait("!document.querySelector('main').inert")


def test_screen_of_branches_and_an_error(chat: ChatPage, fake: FakeServer, pictures: Path) -> None:
    chat.ask("Which layout shares prefixes?")
    chat.press_button("Regenerate answer")
    chat.wait_answer(1)
    fake.busy = 1
    chat.ask("And which is faster?")
    assert chat.count(".failure button") == 1
    chat.tab.screenshot(pictures / "chat-page-desktop-light-error.png")


def test_the_page_is_reached_by_keyboard(chat: ChatPage) -> None:
    chat.tab.run("document.body.tabIndex = -1; document.body.focus()")
    chat.tab.press("Tab")
    assert chat.tab.run("document.activeElement.id") == "skip"
    chat.tab.press("Enter")
    assert chat.tab.run("document.activeElement.id") == "prompt"
    chat.tab.type("a")
    chat.tab.press("Enter", shift=True)
    chat.tab.type("b")
    assert chat.tab.run("document.getElementById('prompt').value") == "a\nb"
