"""Making, keeping and giving back responses, over the chat pipeline. One per gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from serving.admission import Admission
from serving.catalogue import ModelCatalogue
from serving.chat import ChatPipeline, PreparedChat
from serving.config import GatewayConfig
from serving.engine_call import EngineAnswer
from serving.errors import ApiError, InvalidRequest, ResponseNotFound, answer_for
from serving.protocol.chat import ChatRequest
from serving.protocol.parse import validated
from serving.protocol.responses import ResponseRequest
from serving.responses.answer import begun, ended, output_of
from serving.responses.chat_form import chat_form, in_our_words
from serving.responses.ids import new_response_id
from serving.responses.items import ItemIntake, TakenItems
from serving.responses.messages import (
    ChatMessages,
    begins_turn,
    chat_messages,
    last_turns,
    media_ids,
    texts_of,
)
from serving.responses.store import Item, ResponseStore, StoredResponse
from storage.errors import CorruptObject, MediaNotFound
from storage.media import MediaStore

__all__ = ["PreparedResponse", "Responses"]

_TOO_LONG = "context_length_exceeded"
_DEFAULT_ANSWER_TOKENS = 256
_ITEM_TOKENS = 8  # what a chat template adds around a message


@dataclass(frozen=True, slots=True)
class PreparedResponse:
    """A response that is about to be made: the object it begins as, the chat that makes it, and all that the model
    is given.
    """

    tenant: str
    response: Mapping[str, Any]
    chat: PreparedChat
    messages: ChatMessages
    input: Sequence[Item]
    inputs: int
    """How many items came with this request."""


class Responses:
    """Responses over the chat pipeline and a store."""

    def __init__(
        self,
        chat: ChatPipeline,
        admission: Admission,
        media: MediaStore,
        store: ResponseStore,
        catalogue: ModelCatalogue,
        count_tokens: Callable[[str], int],
        config: GatewayConfig,
    ) -> None:
        self.chat = chat
        self.store = store
        self._intake = ItemIntake(admission, media, store, config.limits.max_media_per_request)
        self._media = media
        self._catalogue = catalogue
        self._count = count_tokens
        self._limits = config.limits
        self._context_tokens = config.chat_model.context_tokens

    async def prepare(self, tenant: str, request: ResponseRequest) -> PreparedResponse:
        """Everything before the engine. Raises what the chat pipeline does, in the words of this request."""
        served = self._catalogue.chat_model(request.model)
        if request.stream_options is not None and not request.stream:
            raise InvalidRequest(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
            )
        earlier = await self._earlier(tenant, request.previous_response_id)
        given = request.input
        if given is None or (not given and not earlier):
            if request.previous_response_id is None:
                raise InvalidRequest(
                    "Missing required parameter: 'input'.", "input", "missing_required_parameter"
                )
            given = []
        now = self.store.clock()
        response = begun(new_response_id(now), int(now), served.name, request)
        keep = request.store is not False
        taken: TakenItems | None = None

        async def attempt(anew: bool) -> PreparedResponse:
            nonlocal taken
            taken = await self._intake.take(tenant, str(response["id"]), given, earlier, keep=keep, anew=anew)
            if keep:
                await self._intake.keep(tenant, media_ids(earlier))
            return await self._fitting(tenant, request, response, earlier, taken)

        try:
            return await attempt(anew=False)
        except (MediaNotFound, CorruptObject):
            await self._check_media(tenant, earlier)
            if taken is not None and not taken.reused:
                raise
        # Bytes that were found stored are damaged, or were deleted meanwhile; who brought them along must not
        # suffer from that.
        return await attempt(anew=True)

    async def begin(self, prepared: PreparedResponse, request_id: str, *, stream: bool) -> EngineAnswer:
        """Hand the prompt to the engine and wait for the first bytes of its answer."""
        with in_our_words(prepared.messages):
            return await self.chat.begin(prepared.chat, request_id, stream=stream)

    async def complete(self, prepared: PreparedResponse, request_id: str) -> bytes:
        """The whole response as JSON, stored if that was asked for."""
        with in_our_words(prepared.messages):
            answered = msgspec.json.decode(await self.chat.complete(prepared.chat, request_id))
        choice = answered["choices"][0]
        output = output_of(str(prepared.response["id"]), prepared.inputs, choice)
        response = await self.finish(
            prepared, output, choice.get("finish_reason"), answered.get("usage"), answered.get("manymodal")
        )
        return msgspec.json.encode(response)

    async def finish(
        self,
        prepared: PreparedResponse,
        output: list[Item],
        reason: str | None,
        usage: Mapping[str, Any] | None,
        manymodal: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """The response with its answer, stored if that was asked for. Raises ``StoreUnavailable``: what cannot be
        kept is not said to be.
        """
        response = ended(prepared.response, output, reason, usage, manymodal, int(self.store.clock()))
        await self.keep(prepared, response)
        return response

    async def keep(self, prepared: PreparedResponse, response: Mapping[str, Any]) -> None:
        """Store a response that has ended, if that was asked for."""
        if response["store"]:
            stored = StoredResponse(prepared.tenant, response, prepared.input)
            await asyncio.to_thread(self.store.put, stored)

    async def _earlier(self, tenant: str, response_id: str | None) -> list[Item]:
        if response_id is None:
            return []
        try:
            stored = await asyncio.to_thread(self.store.get, tenant, response_id)
        except ResponseNotFound:
            raise InvalidRequest(
                "The previous response was not found: it was never stored, was deleted, or has expired.",
                "previous_response_id",
                "previous_response_not_found",
            ) from None
        return stored.conversation

    async def _fitting(
        self,
        tenant: str,
        request: ResponseRequest,
        response: Mapping[str, Any],
        earlier: list[Item],
        taken: TakenItems,
    ) -> PreparedResponse:
        """The chat for the whole conversation, or with ``truncation`` for as much of its end as fits."""
        turns = sum(map(begins_turn, earlier))
        if not any(map(begins_turn, taken.items)):  # they go on with the last turn
            turns -= 1
        dropped = 0
        while True:
            kept = last_turns(earlier, dropped) if dropped else earlier
            is_last = request.truncation != "auto" or dropped >= turns
            if is_last or await asyncio.to_thread(self._may_fit, request, kept, taken.items):
                try:
                    return await self._chat(tenant, request, response, kept, taken)
                except Exception as error:
                    if is_last or _code(error) != _TOO_LONG:
                        raise
            # What has been perceived is in the cache, so that a further try costs little; doubling makes them few.
            dropped = min(turns, max(1, 2 * dropped))

    def _may_fit(self, request: ResponseRequest, earlier: Sequence[Item], items: Sequence[Item]) -> bool:
        """Whether the texts fit into the model's context, and there are not too many media. Takes a while."""
        everything = [*earlier, *items]
        if len(media_ids(everything)) > self._limits.max_media_per_request:
            return False
        texts = [request.instructions or "", *texts_of(everything)]
        if sum(map(len, texts)) > self._limits.max_text_characters:
            return False
        tools = [tool.model_dump_json(exclude_none=True) for tool in request.tools or ()]
        tokens = sum(map(self._count, [*texts, *tools])) + _ITEM_TOKENS * (len(everything) + 1)
        context = self._context_tokens
        answer = request.max_output_tokens or min(_DEFAULT_ANSWER_TOKENS, context // 4)
        return tokens + answer <= context

    async def _chat(
        self,
        tenant: str,
        request: ResponseRequest,
        response: Mapping[str, Any],
        earlier: Sequence[Item],
        taken: TakenItems,
    ) -> PreparedResponse:
        messages = chat_messages(request.instructions, earlier, taken.items, taken.params)
        raw = chat_form(request, messages)
        with in_our_words(messages):
            prepared = await self.chat.prepare(tenant, raw, validated(ChatRequest, raw))
        return PreparedResponse(
            tenant, response, prepared, messages, [*earlier, *taken.items], len(taken.items)
        )

    async def _check_media(self, tenant: str, earlier: Sequence[Item]) -> None:
        """Say so if a medium of the conversation so far is the one that is gone."""
        for media_id in media_ids(earlier):
            try:
                await asyncio.to_thread(self._media.get, tenant, media_id)
            except MediaNotFound:
                raise InvalidRequest(
                    "A medium of this conversation is gone: it was deleted or has expired. Begin a new "
                    "conversation, or send what you need of it again.",
                    "previous_response_id",
                    "media_not_found",
                ) from None


def _code(error: Exception) -> str | None:
    answer = answer_for(error)
    return (error.code if isinstance(error, ApiError) else None) or (answer.code if answer else None)
