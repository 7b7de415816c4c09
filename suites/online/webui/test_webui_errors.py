"""The page reports errors of the server, keeps all messages, and can try again."""

from __future__ import annotations

from suites.online.webui.chat_page import ChatPage
from suites.online.webui.fake_server import FakeServer


def test_busy_server_can_be_tried_again(chat: ChatPage, fake: FakeServer) -> None:
    fake.busy = 1
    chat.ask("hello")
    [failure] = chat.texts(".failure p")
    assert "The server is busy: the queue is full." in failure
    assert "wait 7 s" in failure
    chat.press_button("Retry")
    chat.tab.wait("document.querySelector('.answer').innerText === 'You said hello.'")
    assert chat.count(".failure, .versions") == 0


def test_refused_field_leads_to_its_setting(chat: ChatPage) -> None:
    chat.ask("refuse")
    assert chat.texts(".failure p") == ["temperature must be a number from 0 to 1."]
    chat.press_button("Settings")
    assert chat.tab.run("document.activeElement.id") == "setting-temperature"


def test_broken_stream_keeps_what_came(chat: ChatPage) -> None:
    chat.ask("drop")
    assert chat.texts(".failure p") == ["The connection was lost before the answer was complete."]
    assert chat.texts(".answer") == ["You said"]
    chat.reload()
    chat.tab.wait("document.querySelectorAll('.failure').length === 1")


def test_unreachable_server_loses_no_message(chat: ChatPage) -> None:
    chat.tab.send(
        "Network.emulateNetworkConditions",
        offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1,
    )  # fmt: skip
    chat.ask("anyone there")
    chat.tab.send(
        "Network.emulateNetworkConditions",
        offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1,
    )  # fmt: skip
    assert chat.texts(".failure p") == ["The server cannot be reached. Is it running?"]
    chat.press_button("Retry")
    chat.tab.wait("document.querySelectorAll('.failure').length === 0")
    chat.wait_answer(1)
    assert chat.texts(".answer") == ["You said anyone there."]


def test_key_is_asked_for_and_sent(chat: ChatPage, fake: FakeServer) -> None:
    fake.key = "secret"
    chat.send("hello")
    chat.tab.wait("document.getElementById('key-dialog').open")
    chat.tab.type("secret")
    chat.tab.press("Enter")
    chat.tab.wait("document.querySelector('.answer')?.innerText === 'You said hello.'")


def test_full_storage_is_told(chat: ChatPage) -> None:
    chat.tab.run(
        "IDBObjectStore.prototype.put = () => {"
        " throw new DOMException('full', 'QuotaExceededError') }; null"
    )
    assert chat.ask("hello") == "You said hello."
    chat.tab.wait("document.getElementById('banner').innerText.includes('no room left')")
