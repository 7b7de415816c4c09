"""Conversations to prompts, through the Jinja template of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import InvalidRequestError, ModelError, TokenizerError
from engine.models.json_object import JsonObject

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_FILE_NAME = "chat_template.jinja"
CONFIG_FILE_NAME = "tokenizer_config.json"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class ChatTemplate:
    """A compiled template, in the dialect of Hugging Face transformers.

    source: the template; special_tokens: variables such as bos_token. Raises TokenizerError when it
    does not compile.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        import jinja2

        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            msg = f"the chat template does not compile: line {error.lineno}: {error.message}"
            raise TokenizerError(msg) from error
        except (SyntaxError, RecursionError) as error:
            # Jinja parsed it, but Python refuses what it became: a break outside a loop, say.
            msg = f"the chat template does not compile: {error}"
            raise TokenizerError(msg) from error
        self._special_tokens = dict(special_tokens)

    @classmethod
    def load(cls, model: Path) -> ChatTemplate:
        """The template of the checkpoint folder `model`: its own file, or in tokenizer_config.json.

        Raises TokenizerError when there is none or it cannot be read.
        """
        config_path = model / CONFIG_FILE_NAME
        try:
            config = (
                JsonObject.read(config_path)
                if config_path.exists()
                else JsonObject(config_path, {})
            )
            special_tokens = _special_tokens(config)
            path = model / TEMPLATE_FILE_NAME
            source = path.read_text("utf-8") if path.exists() else _stated_template(config)
        except (ModelError, OSError, UnicodeDecodeError) as error:
            raise TokenizerError(str(error)) from error
        if source is None:
            msg = (
                f"{model}: neither {TEMPLATE_FILE_NAME} nor a chat_template in {CONFIG_FILE_NAME}; "
                "use an instruction-tuned checkpoint, or prompts instead of messages"
            )
            raise TokenizerError(msg)
        return cls(source, special_tokens)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> str:
        """The prompt of a conversation.

        variables: what else the template reads, such as documents. Raises InvalidRequestError for
        messages the template cannot take.
        """
        import jinja2

        _check_messages(messages)
        try:
            return self._template.render(
                {
                    "documents": None,  # defined, as in transformers: templates compare with none
                    **self._special_tokens,
                    **variables,
                    "messages": messages,
                    "tools": tools,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
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


def _stated_template(config: JsonObject) -> str | None:
    """The template in tokenizer_config.json: text, or a list of named ones with a default."""
    if "chat_template" not in config:
        return None
    stated = config.value("chat_template")
    if isinstance(stated, list):
        named = {
            item.get("name"): item.get("template") for item in stated if isinstance(item, dict)
        }
        stated = named.get("default")
    if not isinstance(stated, str):
        raise config.error("chat_template", "a template or a list with one named default is needed")
    return stated


def _special_tokens(config: JsonObject) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for name in _SPECIAL_TOKENS:
        if name in config:
            stated = config.value(name)
            token = stated.get("content") if isinstance(stated, dict) else stated
            if not isinstance(token, str):
                raise config.error(name, "a text, or an object with a text as content, is needed")
            tokens[name] = token
    return tokens


def _environment() -> ImmutableSandboxedEnvironment:
    """What transformers compiles chat templates with: a sandbox and a few names."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationBlocks(Extension):
        """Marks of the assistant's text, which training reads; a scope of their own in a prompt."""

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
    # Jinja's own filter escapes for HTML, which is not what a model was trained on.
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
