"""Conversations on the page, with any server."""

from __future__ import annotations

import time

import pytest

from suites.online.webui.chat_page import ChatPage
from suites.online.webui.fake_server import FakeServer


def test_two_conversations_stay_apart_and_survive_a_reload(chat: ChatPage) -> None:
    first = chat.ask("apples")
    chat.press_button("New chat")
    chat.tab.wait("document.querySelectorAll('article').length === 0")
    second = chat.ask("pears")
    assert (first, second) == ("You said apples.", "You said pears.")
    chat.reload()
    chat.tab.wait("document.querySelectorAll('article').length === 2")
    assert chat.texts("article .content")[0] == "pears"
    assert chat.texts("#conversations .open") == ["pears", "apples"]
    chat.tab.click("#conversations li:last-child .open")
    chat.tab.wait("document.querySelector('article .content')?.innerText === 'apples'")


def test_an_answer_appears_while_it_streams_and_escape_stops_it(
    chat: ChatPage, fake: FakeServer
) -> None:
    chat.send("slow")
    chat.tab.wait("document.querySelector('.answer')?.innerText.startsWith('tick')")
    chat.tab.wait("document.getElementById('live').innerText.includes('tokens/s')")
    assert chat.tab.run("document.getElementById('send').hidden")
    chat.tab.press("Escape")
    chat.wait_answer(1)
    assert chat.texts(".remark") == ["Stopped."]
    deadline = time.monotonic() + 2
    while not fake.cancelled and time.monotonic() < deadline:
        time.sleep(0.02)
    assert fake.cancelled == 1
    kept = chat.texts(".answer")[-1]
    assert kept.startswith("tick")
    chat.reload()
    chat.tab.wait("document.querySelectorAll('article').length === 2")
    assert chat.texts(".answer")[-1] == kept


def test_two_conversations_stream_at_once(chat: ChatPage) -> None:
    chat.send("slow")
    chat.tab.wait("document.querySelector('.answer')?.innerText.startsWith('tick')")
    chat.press_button("New chat")
    assert chat.ask("quick") == "You said quick."
    assert chat.count("#conversations .busy") == 1
    chat.tab.click("#conversations .busy")
    chat.tab.wait("!document.getElementById('stop').hidden")
    chat.tab.click("#stop")
    chat.wait_answer(1)


def test_an_edited_question_is_a_branch(chat: ChatPage, fake: FakeServer) -> None:
    chat.ask("one")
    chat.ask("two")
    chat.press_button("Edit message", "article:first-child")
    chat.tab.type(" edited")
    chat.tab.press("Enter")
    chat.tab.wait(
        "[...document.querySelectorAll('.answer')].at(-1)?.innerText"
        " === 'You said one edited.' && document.getElementById('stop').hidden"
    )
    assert chat.texts(".versions span") == ["2/2"]
    assert fake.bodies[-1]["messages"] == [{"role": "user", "content": "one edited"}]
    chat.press_button("Previous version")
    assert chat.texts("article.user .content") == ["one", "two"]


def test_a_regenerated_answer_keeps_the_old_one(chat: ChatPage) -> None:
    chat.ask("again")
    chat.press_button("Regenerate answer")
    chat.tab.wait("document.querySelector('.assistant .versions span')?.innerText === '2/2'")
    chat.wait_answer(1)
    chat.reload()
    chat.tab.wait("document.querySelector('.assistant .versions span')?.innerText === '2/2'")


def test_rename_delete_and_undo(chat: ChatPage) -> None:
    chat.ask("old name")
    chat.press_button("Rename old name")
    chat.tab.run("document.querySelector('#conversations input').select()")
    chat.tab.type("new name")
    chat.tab.press("Enter")
    chat.tab.wait("document.getElementById('title').innerText === 'new name'")
    chat.press_button("Delete new name")
    chat.tab.wait("document.querySelectorAll('#conversations li').length === 0")
    chat.press_button("Undo")
    chat.tab.wait("document.querySelectorAll('article').length === 2")
    chat.reload()
    assert chat.texts("#conversations .open") == ["new name"]


def test_settings_are_sent_checked_and_reset(chat: ChatPage, fake: FakeServer) -> None:
    fill = (
        "(name, text) => { const e = document.getElementById('setting-' + name);"
        " e.value = text; e.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    for name, text in {"temperature": "0.5", "top_k": "40", "system": "Be brief."}.items():
        chat.tab.run(f"({fill})({name!r}, {text!r})")
    chat.tab.run(f"({fill})('stop', 'END\\\\n\\nSTOP')")
    chat.ask("hello")
    body = fake.bodies[-1]
    assert (body["temperature"], body["top_k"]) == (0.5, 40)
    assert body["stop"] == ["END\n", "STOP"]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "seed" not in body
    chat.tab.run(f"({fill})('top_p', '7')")
    chat.send("not sent")
    assert chat.texts("#wrong-top_p") == ["A number above 0, at most 1"]
    assert len(fake.bodies) == 1
    chat.press_button("Reset to defaults")
    assert chat.tab.run("document.getElementById('setting-temperature').value") == ""
    chat.tab.run("document.getElementById('prompt').value = ''")
    chat.ask("plain")
    assert set(fake.bodies[-1]) == {"model", "messages", "stream", "stream_options"}


def test_reasoning_is_folded(chat: ChatPage) -> None:
    assert chat.ask("think") == "You said think."
    assert chat.texts(".reasoning summary") == ["Reasoning"]
    assert not chat.tab.run("document.querySelector('.reasoning').open")
    thought = chat.tab.run("document.querySelector('.reasoning .content').textContent")
    assert thought.startswith("First the question")


def test_statistics_of_answer_and_server(chat: ChatPage) -> None:
    chat.ask("figures")
    facts = chat.texts(".facts")[0]
    assert "4 tokens" in facts
    assert "first after" in facts
    assert "48/64 prompt cached" in facts
    shown = chat.tab.wait("document.getElementById('statistics').innerText.includes('1,536')")
    assert shown


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "[a](javascript:alert(1))"])
def test_generated_text_is_never_markup(chat: ChatPage, hostile: str) -> None:
    assert chat.ask(hostile) == f"You said {hostile}."
    assert chat.count("#messages img, #messages a") == 0


def test_export_and_import_give_the_same(chat: ChatPage) -> None:
    chat.ask("keep me")
    same = chat.tab.run(
        "(async () => { const {toFile, fromFile} = await import('/webui/transfer.js');"
        "const {ConversationStore} = await import('/webui/store.js');"
        "const all = await (await ConversationStore.open()).all();"
        "const again = fromFile(toFile(all), () => false);"
        "const order = (_, v) => v && v.constructor === Object"
        " ? Object.fromEntries(Object.entries(v).sort()) : v;"
        "return [JSON.stringify(all, order), JSON.stringify(again, order), all.length] })()"
    )
    assert same[2] == 1
    assert same[0] == same[1]
