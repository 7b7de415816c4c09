"""The page on the engine's own server with the checkpoint under test."""

from __future__ import annotations

import pytest

from suites.online.live_server import LiveServer
from suites.online.webui.chat_page import ChatPage

pytestmark = pytest.mark.criterion("s0.online")


@pytest.fixture
def server_url(server: LiveServer) -> str:
    return f"{str(server.url).rstrip('/')}/"


def set_field(chat: ChatPage, name: str, text: str) -> None:
    chat.tab.run(
        f"(() => {{ const e = document.getElementById('setting-{name}'); e.value = '{text}';"
        " e.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


def test_greedy_answers_are_equal_and_kept(chat: ChatPage) -> None:
    set_field(chat, "temperature", "0")
    set_field(chat, "max_tokens", "24")
    first = chat.ask("Alice was")
    assert first
    chat.press_button("Regenerate answer")
    chat.tab.wait("document.querySelector('.assistant .versions span')?.innerText === '2/2'")
    chat.wait_answer(1)
    assert chat.texts(".answer") == [first]
    assert "first after" in chat.texts(".facts")[0]
    chat.reload()
    chat.tab.wait("document.querySelector('.answer') !== null")
    assert chat.texts(".answer") == [first]
    chat.tab.wait("document.getElementById('statistics').innerText.includes('KV cache')")


def test_two_conversations_and_an_edited_question(chat: ChatPage) -> None:
    set_field(chat, "temperature", "0")
    set_field(chat, "max_tokens", "8")
    chat.ask("Alice was")
    chat.press_button("New chat")
    chat.tab.wait("document.querySelectorAll('article').length === 0")
    chat.ask("Down the")
    chat.press_button("Edit message", "article:first-child")
    chat.tab.type(" rabbit hole")
    chat.tab.press("Enter")
    chat.tab.wait("document.querySelector('.user .versions span')?.innerText === '2/2'")
    chat.wait_answer(1)
    assert chat.texts("#conversations .open") == ["Down the", "Alice was"]


def test_too_long_a_message_is_told_and_kept(chat: ChatPage) -> None:
    chat.ask("rabbit " * 5000)
    assert len(chat.texts(".failure p")) == 1
    assert chat.count("article.user") == 1
