"""Routes about models and their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.chat import chat_text
from stagegate.server.openai.documentation import REFUSALS, errors
from stagegate.server.openai.logprobs import token_text
from stagegate.server.openai.protocol import DetokenizeRequest, TokenizeRequest
from stagegate.server.openai.responses import DetokenizeAnswer, Model, ModelList, TokenizeAnswer

if TYPE_CHECKING:
    from stagegate.server.http.models import ServedModel
    from stagegate.server.http.serving import Serving


def model_routes(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", responses=errors(*REFUSALS, 503))
    async def models() -> ModelList:
        """The models this server has."""
        return ModelList(data=[_described(serving, model) for model in serving.models.values()])

    @router.get("/v1/models/{name:path}", responses=errors(*REFUSALS, 404, 503))
    async def model(name: str) -> Model:
        """One of them."""
        return _described(serving, serving.models.find(name))

    @router.post(
        "/tokenize", response_model_exclude_unset=True, responses=errors(*REFUSALS, 404, 503)
    )
    async def tokenize(body: TokenizeRequest) -> TokenizeAnswer:
        """Token ids of a text, or of a conversation in the model's template."""
        model = serving.models.find(body.model)
        token_ids = await _token_ids(body, model)
        answer = TokenizeAnswer(
            count=len(token_ids), max_model_len=model.client.max_model_len, tokens=token_ids
        )
        if body.return_token_strs:
            answer.token_strs = [token_text(model.client.tokenizer, token) for token in token_ids]
        return answer

    @router.post("/detokenize", responses=errors(*REFUSALS, 404, 503))
    async def detokenize(body: DetokenizeRequest) -> DetokenizeAnswer:
        """Text of token ids."""
        tokenizer = serving.models.find(body.model).client.tokenizer
        text = tokenizer.decode(body.tokens, skip_special_tokens=bool(body.skip_special_tokens))
        return DetokenizeAnswer(prompt=text)

    return router


def _described(serving: Serving, model: ServedModel) -> Model:
    return Model(
        id=model.name,
        created=int(serving.started),
        root=str(model.client.model_path),
        max_model_len=model.client.max_model_len,
    )


async def _token_ids(body: TokenizeRequest, model: ServedModel) -> list[int]:
    if body.messages is not None and body.prompt is None:
        if body.add_special_tokens is not None:
            msg = "add_special_tokens is for a prompt; a chat template has its own"
            raise InvalidRequestError(msg, parameter="add_special_tokens")
        text = chat_text(
            model,
            body.messages,
            tools=[tool.model_dump(exclude_unset=True) for tool in body.tools or ()] or None,
            add_generation_prompt=body.add_generation_prompt is not False,
            variables=body.chat_template_kwargs,
        )
        return await model.client.encode(text, add_special_tokens=False)
    if body.prompt is None or body.messages is not None:
        msg = "give either a prompt or messages"
        raise InvalidRequestError(msg, parameter="prompt")
    for name in ("tools", "add_generation_prompt", "chat_template_kwargs"):
        if getattr(body, name) is not None:
            msg = f"{name} is for messages"
            raise InvalidRequestError(msg, parameter=name)
    special = body.add_special_tokens is not False
    return await model.client.encode(body.prompt, add_special_tokens=special)
