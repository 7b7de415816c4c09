"""Conversations with tool calls, and templates that read them in the ways checkpoints do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

TOKENS = {"bos_token": "<s>"}


@dataclass(frozen=True)
class Template:
    """joins: arguments are joined to strings as text, not serialised.

    takes_null: content may be null; transformers is given "" otherwise.
    """

    source: str
    joins: bool = False
    takes_null: bool = True


# As Qwen2: knows no calls.
_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
)

# As Qwen2.5: shows content if there is any, serialises arguments.
_HERMES = """\
{%- for m in messages %}
    {%- if m.role == "tool" %}
        {{- "<|im_start|>user\n<tool_response>\n" + m.content + "\n</tool_response><|im_end|>\n" }}
    {%- else %}
        {{- "<|im_start|>" + m.role }}
        {%- if m.content %}
            {{- "\n" + m.content }}
        {%- endif %}
        {%- for call in m.tool_calls %}
            {%- if call.function is defined %}
                {%- set call = call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments | tojson }}
            {{- "}\n</tool_call>" }}
        {%- endfor %}
        {{- "<|im_end|>\n" }}
    {%- endif %}
{%- endfor %}"""

# As Qwen3: arguments may be text; a thought is taken out of the content.
_THINKING = """\
{%- for m in messages %}
    {%- set content = m.content if m.content is string else "" %}
    {%- set thought = m.reasoning_content if m.reasoning_content is string else "" %}
    {{- "[" ~ m.role ~ "]" }}
    {%- if thought %}
        {{- "<think>\n" ~ thought.strip("\n") ~ "\n</think>\n\n" }}
    {%- endif %}
    {{- content.split("</think>")[-1].lstrip("\n") }}
    {%- for call in m.tool_calls or [] %}
        {%- set f = call.function %}
        {{- '<tool_call>{"name": "' ~ f.name ~ '", "arguments": ' }}
        {{- f.arguments if f.arguments is string else f.arguments | tojson }}
        {{- "}</tool_call>" }}
    {%- endfor %}
{%- endfor %}"""

# As DeepSeek-R1-Distill had it at first: a call is seen only where the content is null.
_NULL_MEANS_CALLS = """\
{%- for m in messages -%}
    {%- if m['role'] == 'assistant' and m['content'] is none -%}
        {%- for call in m['tool_calls'] -%}
            {{ '<call>' + call['type'] + '<sep>' + call['function']['name'] + '\n```json\n' }}
            {{- call['function']['arguments'] + '\n' + '```<end>' }}
        {%- endfor -%}
    {%- elif m['role'] == 'assistant' -%}
        {%- set text = m['content'] -%}
        {%- if '</think>' in text -%}{%- set text = text.split('</think>')[-1] -%}{%- endif -%}
        {{ '<assistant>' + text + '<eos>' }}
    {%- else -%}
        {{ '<' + m['role'] + '>' + m['content'] }}
    {%- endif -%}
{%- endfor -%}"""

# As it was corrected: calls may have content beside them.
_NULL_OR_TEXT = """\
{{- bos_token }}
{%- for m in messages -%}
    {%- if m['role'] == 'assistant' and 'tool_calls' in m -%}
        {%- if m['content'] is none -%}
            {{ '<assistant>' }}
        {%- else -%}
            {{ '<assistant>' + m['content'] }}
        {%- endif -%}
        {%- for call in m['tool_calls'] -%}
            {%- set f = call['function'] -%}
            {{ '<call>' + f['name'] + '\n' + f['arguments'] + '<end>' }}
        {%- endfor -%}
    {%- else -%}
        {{ '<' + m['role'] + '>' + m['content'] }}
    {%- endif -%}
{%- endfor -%}"""

# As Llama 3.1: one call, of "parameters"; results are serialised.
_LLAMA = """\
{%- for m in messages %}
    {%- if 'tool_calls' in m %}
        {%- if m.tool_calls | length != 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|assistant|>{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|eot|>" }}
    {%- elif m.role == "tool" %}
        {{- "<|ipython|>" + (m.content | tojson) + "<|eot|>" }}
    {%- else %}
        {{- '<|' + m['role'] + '|>' + m['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}"""

# As Qwen3-Coder: goes through the members of the arguments.
_MEMBERS = """\
{%- for m in messages %}
    {{- m.role ~ ":" ~ (m.content or "") }}
    {%- for call in m.tool_calls or [] %}
        {{- "<function=" ~ call.function.name ~ ">" }}
        {%- for name, value in call.function.arguments | items %}
            {{- "<" ~ name ~ ">" ~ (value if value is string else value | tojson) ~ "</>" }}
        {%- endfor %}
    {%- endfor %}
{%- endfor %}"""

# Arguments printed by themselves, filtered, and joined by ~.
_PRINTED = (
    "{% for m in messages %}{{ m.role }}:{% for call in m.tool_calls or [] %}"
    "{{ call.function.arguments }}|{{ call.function.arguments | trim }}|"
    "{{ 'a' ~ call.function.arguments ~ 'b' }}{% endfor %}{% endfor %}"
)

TEMPLATES = {
    "chatml": Template(_CHATML, takes_null=False),
    "hermes": Template(_HERMES),
    "thinking": Template(_THINKING),
    "null_means_calls": Template(_NULL_MEANS_CALLS, joins=True),
    "null_or_text": Template(_NULL_OR_TEXT, joins=True),
    "llama": Template(_LLAMA),
    "members": Template(_MEMBERS),
    "printed": Template(_PRINTED, joins=True),
}

# Spelt as json.dumps would not.
_CITY = '{"city":"Köln",  "at": [1, 2.50, true, null], "of": {"x": "\\n\\"</tool_call>"}}'


def _call(arguments: str | dict[str, Any], name: str = "weather") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{name}", "type": "function", "function": function}


def _conversation(*, calls: list[dict[str, Any]], **answer: Any) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "What is it like?"},
        {"role": "assistant", "tool_calls": calls, **answer},
        *(
            {"role": "tool", "tool_call_id": call["id"], "content": f'"é" {number}'}
            for number, call in enumerate(calls)
        ),
        {"role": "assistant", "content": "<b>Rain.</b>"},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("And", "now?")]},
    ]


# In the form of the OpenAI API.
CONVERSATIONS = {
    "null": _conversation(calls=[_call(_CITY)], content=None),
    "absent": _conversation(calls=[_call(_CITY)]),
    "empty": _conversation(calls=[_call(_CITY)], content=""),
    "text": _conversation(calls=[_call(_CITY)], content=" Let me look.\n"),
    "parts": _conversation(
        calls=[_call(_CITY)], content=[{"type": "text", "text": t} for t in ("Let", "me look.")]
    ),
    "thought": _conversation(calls=[_call(_CITY)], content=None, reasoning_content="Hm.\n"),
    "no_arguments": _conversation(calls=[_call("{}")], content=None),
    "two_calls": _conversation(calls=[_call(_CITY), _call("{}", "clock")], content=None),
    "object": _conversation(calls=[_call(json.loads(_CITY))], content=None),
}


def for_transformers(
    conversation: list[dict[str, Any]], template: Template
) -> list[dict[str, Any]]:
    """The messages as its users write them for this template."""
    return [_message(message, template) for message in conversation]


def _message(message: dict[str, Any], template: Template) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content)
    if content is None and not template.takes_null:
        content = ""
    message = {**message, "content": content}
    if "tool_calls" in message:
        message["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _arguments(call, template)}}
            for call in message["tool_calls"]
        ]
    return message


def _arguments(call: dict[str, Any], template: Template) -> str | dict[str, Any]:
    written = call["function"]["arguments"]
    if template.joins:
        return written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
    value: dict[str, Any] = json.loads(written) if isinstance(written, str) else written
    return value
