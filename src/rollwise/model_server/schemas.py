"""The bodies of the routes that only this server has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rollwise.openai_format import HOW_TO_CONTINUE, Body, Message, Prompt, Token, refusal


class TokenizeBody(Body):
    """`POST /tokenize`: a prompt or a chat."""

    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _has_one_text(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise refusal("send either 'prompt' or 'messages'", "prompt")
        if self.messages and self.add_generation_prompt and self.continue_final_message:
            raise refusal(HOW_TO_CONTINUE, "add_generation_prompt")
        return self


class DetokenizeBody(Body):
    """`POST /detokenize`."""

    tokens: list[Token]


class PoolingBody(Body):
    """`POST /pooling`: texts whose steps the reward model scores."""

    input: Prompt
    task: Literal["token_classify"] = "token_classify"
    use_activation: Literal[True] = True
    add_special_tokens: bool = True


class EmbeddingBody(Body):
    """`POST /v1/embeddings`."""

    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    add_special_tokens: bool = True
