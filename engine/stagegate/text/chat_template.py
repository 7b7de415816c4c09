"""Conversations to prompts, through the Jinja template of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from stagegate.errors import InvalidRequestError, TokenizerError
from stagegate.text.tokenizer_config import FILE_NAME as CONFIG_FILE_NAME
from stagegate.text.tokenizer_config import TokenizerConfig

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_FILE_NAME = "chat_template.jinja"
MORE_TEMPLATES_FOLDER_NAME = "additional_chat_templates"


class ChatTemplate:
    """The compiled template of a checkpoint, in the dialect of Hugging Face transformers.

    source: the template; tool_source: a separate one for conversations with tools, if there is one;
    special_tokens: variables such as bos_token. Raises TokenizerError if a template does not
    compile.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        tool_source: str | None = None,
    ) -> None:
        self._template = _compile(source)
        self._tool_template = self._template if tool_source is None else _compile(tool_source)
        self._special_tokens = dict(special_tokens)

    @classmethod
    def load(cls, model: Path) -> ChatTemplate:
        """The template of the checkpoint folder `model`.

        Of named templates "default" is used, and "tool_use" if there are tools. Template files
        (chat_template.jinja, and those in additional_chat_templates by name) override
        tokenizer_config.json. Raises TokenizerError if there is no template or it cannot be read.
        """
        config = TokenizerConfig.read(model)
        named = _templates_in_files(model) or _templates_in_config(config)
        if not named:
            msg = (
                f"{model}: neither {TEMPLATE_FILE_NAME} nor a chat_template in {CONFIG_FILE_NAME}; "
                "use an instruction-tuned checkpoint, or prompts instead of messages"
            )
            raise TokenizerError(msg)
        if "default" not in named:
            msg = (
                f"{model}: the chat templates are {', '.join(sorted(named))}, without a "
                f"default; write one into {TEMPLATE_FILE_NAME}"
            )
            raise TokenizerError(msg)
        return cls(named["default"], config.named_tokens, tool_source=named.get("tool_use"))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> str:
        """The prompt of a conversation.

        variables: other variables of the template, such as documents. A content of None, which a
        message with tool calls may have, becomes an empty text for a template that cannot handle
        None. Raises InvalidRequestError for messages that the template cannot render.
        """
        _check_messages(messages)
        context = {
            "documents": None,  # defined, as in transformers: templates compare with none
            **self._special_tokens,
            **variables,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._render(messages, context)
        except InvalidRequestError:
            if all(message.get("content", "") is not None for message in messages):
                raise
        texts = [
            {**message, "content": ""} if message.get("content", "") is None else message
            for message in messages
        ]
        return self._render(texts, context)

    def _render(self, messages: Sequence[Mapping[str, Any]], context: Mapping[str, object]) -> str:
        import jinja2

        template = self._template if context["tools"] is None else self._tool_template
        try:
            return template.render({**context, "messages": messages})
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            msg = f"the chat template cannot take these messages: {error}"
            raise InvalidRequestError(msg, parameter="messages") from error


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        msg = f"messages must be a list with at least one message, got {messages!r}"
        raise InvalidRequestError(msg, parameter="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            msg = f"messages[{index}] must be an object with a role, got {message!r}"
            raise InvalidRequestError(msg, parameter="messages")


def _templates_in_files(model: Path) -> dict[str, str]:
    files = {"default": model / TEMPLATE_FILE_NAME}
    more = sorted((model / MORE_TEMPLATES_FOLDER_NAME).glob("*.jinja"))
    files |= {file.name.removesuffix(".jinja"): file for file in more}
    named: dict[str, str] = {}
    for name, file in files.items():
        try:
            named[name] = file.read_text("utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"{file}: cannot be read: {error}") from error
    return named


def _templates_in_config(config: TokenizerConfig) -> dict[str, str]:
    """The templates in tokenizer_config.json: one, or several by name."""
    if "chat_template" not in config.stated:
        return {}
    stated = config.stated.value("chat_template")
    if isinstance(stated, str):
        return {"default": stated}
    if isinstance(stated, list) and all(isinstance(item, dict) for item in stated):
        stated = {item.get("name"): item.get("template") for item in stated}
    if not isinstance(stated, dict) or not all(
        isinstance(text, str) for pair in stated.items() for text in pair
    ):
        problem = "a template, or a list of objects with name and template, is needed"
        raise TokenizerError(f"{config.stated.error('chat_template', problem)}")
    return stated


def _compile(source: str) -> Template:
    import jinja2

    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        msg = f"the chat template does not compile: line {error.lineno}: {error.message}"
        raise TokenizerError(msg) from error
    except (SyntaxError, RecursionError) as error:
        # Jinja parsed it, but Python rejects the generated code, such as a break outside a loop.
        msg = f"the chat template does not compile: {error}"
        raise TokenizerError(msg) from error


def _environment() -> ImmutableSandboxedEnvironment:
    """The environment in which transformers compiles chat templates: a sandbox and a few names."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationBlocks(Extension):
        """The tag that marks the assistant's text for training; in a prompt it is only a scope."""

        tags = {"generation"}  # noqa: RUF012 - an instance variable in the base class

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlocks, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML; models were trained without that.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(reason: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(reason)
