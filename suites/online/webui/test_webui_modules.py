"""The independent modules of the page, called in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest

from suites.online.webui.chat_page import ChatPage

EVENTS = 'data: {"a": "é🦊"}\r\n\r\n: a comment\nevent: x\ndata: one\ndata: two\n\ndata: cut off'


def call(chat: ChatPage, module: str, body: str, argument: object = None) -> Any:
    """Runs a function body with the module as `m` and the argument as `x`."""
    return chat.tab.run(
        f"import('/webui/{module}').then(async (m) => {{"
        f" const x = {json.dumps(argument)}; {body} }})"
    )


def render(chat: ChatPage, source: str) -> str:
    body = "const d = document.createElement('div'); d.append(...m.renderMarkdown(x));"
    return str(call(chat, "markdown.js", body + "return d.innerHTML", source))


def test_events_are_the_same_wherever_the_bytes_are_cut(chat: ChatPage) -> None:
    body = """
      const bytes = new TextEncoder().encode(x);
      const seen = new Set();
      for (let cut = 0; cut <= bytes.length; cut += 1) {
        const stream = new ReadableStream({ start(c) {
          c.enqueue(bytes.slice(0, cut)); c.enqueue(bytes.slice(cut)); c.close(); } });
        const events = [];
        for await (const data of m.readEvents(stream)) events.push(data);
        seen.add(JSON.stringify(events));
      }
      return [...seen].map((text) => JSON.parse(text));"""
    assert call(chat, "sse.js", body, EVENTS) == [['{"a": "é🦊"}', "one\ntwo"]]


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>"),
        ("snake_case_name 2 * 3 * 4", "<p>snake_case_name 2 * 3 * 4</p>"),
        ("<b>x</b> & y", "<p>&lt;b&gt;x&lt;/b&gt; &amp; y</p>"),
        ("- a\n  - b\n- c", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> q\n\np", "<blockquote><p>q</p></blockquote><p>p</p>"),
        ("---", "<hr>"),
        ("`` a`b ``", "<p><code>a`b</code></p>"),
        ("![x](data:text/html,y)", "<p>![x](data:text/html,y)</p>"),
    ],
)
def test_markdown(chat: ChatPage, source: str, html: str) -> None:
    assert render(chat, source) == html


def test_links_open_apart_and_only_to_the_web(chat: ChatPage) -> None:
    html = render(chat, "[a](https://example.org/x_(y)) and https://example.org/b.")
    assert html.count('target="_blank"') == html.count('rel="noopener noreferrer"') == 2
    assert 'href="https://example.org/x_(y)"' in html
    assert 'href="https://example.org/b"' in html
    for address in ("javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "//e.org"):
        assert "<a" not in render(chat, f"[a]({address})")


def test_open_code_block_is_code_while_it_streams(chat: ChatPage) -> None:
    html = render(chat, "```js\nconst a = '<b>';\n# not a heading")
    assert "const a = '&lt;b&gt;';\n# not a heading</code>" in html


@pytest.mark.parametrize(
    "source", ["*" * 20000, "[" * 20000, "`" * 9999 + "a", "> " * 5000, "- " * 5000, "_a" * 9999]
)
def test_hostile_markdown_takes_no_second(chat: ChatPage, source: str) -> None:
    body = "const t = performance.now(); m.renderMarkdown(x); return performance.now() - t"
    assert call(chat, "markdown.js", body, source) < 1000


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nonsense", "not JSON"),
        ("{}", "not an export"),
        ('{"format": "stagegate-conversations", "version": 9, "conversations": []}', "version 9"),
    ],
)
def test_foreign_file_is_refused(chat: ChatPage, file: str, message: str) -> None:
    body = "try { m.fromFile(x, () => false) } catch (e) { return e.message }"
    assert message in call(chat, "transfer.js", body, file)


def test_import_of_a_cycle_is_refused(chat: ChatPage) -> None:
    looping = {"role": "user", "content": "x", "children": ["a"], "selected": 0}
    conversation = {"id": "c", "children": ["a"], "selected": 0, "messages": {"a": looping}}
    file = {"format": "stagegate-conversations", "version": 1, "conversations": [conversation]}
    body = "try { m.fromFile(x, () => false) } catch (e) { return e.message }"
    answer = call(chat, "transfer.js", body, json.dumps(file))
    assert answer == "Conversation 1 has a message twice."
