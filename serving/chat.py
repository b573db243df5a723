"""The chat pipeline: admit the media, perceive them, fuse them into the prompt, ask the engine."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from serving import origin
from serving.admission import Admission, AdmittedMedia
from serving.affinity import AFFINITY_HEADER, affinity
from serving.answer_meter import AnswerMeter
from serving.cache_salt import cache_salt
from serving.catalogue import ModelCatalogue
from serving.chat_answer import AnswerForm, complete_usage
from serving.chat_messages import MediaUse, brought, media_uses, question_of, texts_of, with_blocks
from serving.chat_request import engine_fields
from serving.chat_rules import check_rules
from serving.concurrency import all_of
from serving.config import GatewayConfig
from serving.engine_call import EngineAnswer, call_engine
from serving.engine_turns import EngineTurns
from serving.errors import EngineRefused, LimitExceeded
from serving.limits.limiter import TenantLimiter, TokenReservation
from serving.media_parts import admit_part
from serving.media_report import MediaReport
from serving.metrics import GatewayMetrics
from serving.moderation.answers import guarded, guarded_whole
from serving.moderation.gate import Guard, ModerationGate
from serving.moderation.prompts import prompt_texts
from serving.perceive_options import AS_SET, PerceiveOptions
from serving.perceiver import Perceived
from serving.protocol.chat import ChatRequest
from serving.refusals import naming
from serving.services import Attachment, ChatEngine
from serving.sse import Event
from serving.strategies.strategy import FusedMedia, Strategy, Wanted

__all__ = ["ChatPipeline", "PreparedChat"]

_AS_IS = AnswerForm()
_PATH = "/v1/chat/completions"
_DEFAULT_ANSWER_TOKENS = 256
# What a chat template adds around messages; on the safe side, the engine counts exactly.
_TEMPLATE_TOKENS = 64
_MESSAGE_TOKENS = 8
_PICTURE_TOKENS = (
    256  # a guess at what the decoder's own eyes make of one; the engine says how many they were
)
_FEW_CHARACTERS = 100_000  # their rules are checked in less time than a thread takes to be asked


@dataclass(frozen=True, slots=True)
class PreparedChat:
    """A request as the engine gets it, and what its media gave: ``perceived`` in the order they stand in it.

    ``body`` refers to ``attachments`` by place, see ``ChatEngine.request``. ``media_param`` is the request field
    that errors about media name. The last three say in which form the answer is sent.
    """

    body: bytes
    attachments: tuple[Attachment, ...]
    report: MediaReport | None
    modality: str
    usage_wanted: bool
    perceived: tuple[Perceived, ...] = ()
    media_param: str | None = None
    form: AnswerForm = _AS_IS
    obfuscate: bool = False
    logprobs: bool = False
    guard: Guard | None = None
    choices: int = 1
    tenant: str = ""
    tokens: TokenReservation | None = None
    meter: AnswerMeter | None = None
    affinity: str = ""


class ChatPipeline:
    """From a validated request to an engine's answer that has begun. One per gateway."""

    def __init__(
        self,
        engine: ChatEngine,
        admission: Admission,
        strategy: Strategy,
        count_tokens: Callable[[str], int],
        catalogue: ModelCatalogue,
        config: GatewayConfig,
        metrics: GatewayMetrics,
        moderation: ModerationGate,
        limiter: TenantLimiter,
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._strategy = strategy
        self._count = count_tokens
        self._catalogue = catalogue
        self._config = config
        self._limits = config.limits
        self._metrics = metrics
        self._moderation = moderation
        self._limiter = limiter
        self.turns = EngineTurns(config.engine_slots)
        metrics.queues.watch("engine", self.turns.queue)

    async def prepare(
        self, tenant: str, raw: dict[str, Any], request: ChatRequest, options: PerceiveOptions = AS_SET
    ) -> PreparedChat:
        """Everything before the engine. ``raw`` is the decoded body that ``request`` was validated from;
        ``options`` say how its media are perceived.
        """
        served = self._catalogue.chat_model(request.model)
        characters = sum(len(text) for text in texts_of(request))
        self._check_length(characters, "messages")
        await self._check(request, characters)
        uses = list(media_uses(request))
        if len(uses) > self._limits.max_media_per_request:
            raise LimitExceeded(
                f"The request brings {len(uses)} media; at most {self._limits.max_media_per_request} "
                "(max_media_per_request) are allowed.",
                "messages",
            )
        origin.brings(brought(uses))
        guard = await self._moderation.guard(tenant, "chat_input")
        if guard is not None:
            for param, texts in prompt_texts(request).items():
                if param != "messages":  # which have been counted
                    self._check_length(sum(map(len, texts)), param)
                await guard.texts(texts, param)
        body = engine_fields(raw, request)
        body["model"] = served.name
        # Tenants never share what the engine keeps of prompts: how long an answer takes would tell what others ask.
        body["cache_salt"] = cache_salt(self._config.cache_secret, tenant)
        report, modality, perceived = None, "text", list[Perceived]()
        attachments: tuple[Attachment, ...] = ()
        if uses:
            perceived = await all_of(self._bring_in(tenant, use, options, guard) for use in uses)
            with self._metrics.time_stage("fuse"):
                fused, report = await asyncio.to_thread(self._fuse, raw, request, perceived)
            body["messages"] = with_blocks(
                body["messages"], request, uses, fused.blocks, self._strategy.content
            )
            attachments = fused.attachments
            kinds = {item.medium.info.kind.value for item in perceived}
            modality = kinds.pop() if len(kinds) == 1 else "mixed"
        origin.brings(modality)
        came = origin.current()
        started = time.perf_counter() if came is None else came.started
        if request.stream:
            # Asked for always, so that tokens are counted; dropped again when the client did not ask.
            body["stream_options"] = {"include_usage": True}
        output_guard = await self._moderation.guard(tenant, "chat_output")
        if output_guard is not None and request.stream:
            # An answer may be cut at any place; what it has taken is counted all the same.
            body["stream_options"]["continuous_usage_stats"] = True
        streamed = request.stream_options
        return PreparedChat(
            msgspec.json.encode(body),
            attachments,
            report,
            modality,
            streamed is not None and streamed.include_usage is True,
            tuple(perceived),
            uses[0].param if len(uses) == 1 else "messages" if uses else None,
            AnswerForm(request.functions is not None, request.metadata),
            streamed is None or streamed.include_obfuscation is not False,
            request.logprobs is True,
            output_guard,
            request.n or 1,
            tenant,
            await self._reserve(tenant, body, request, attachments),
            AnswerMeter(self._metrics, modality, started),
            affinity(body, attachments, adapted=served is not self._catalogue.chat),
        )

    def _check_length(self, characters: int, field: str) -> None:
        if characters > self._limits.max_text_characters:
            raise LimitExceeded(
                f"The {field} hold {characters} characters; at most {self._limits.max_text_characters} "
                "(max_text_characters) are allowed.",
                field,
                "context_length_exceeded",
            )

    async def _check(self, request: ChatRequest, characters: int) -> None:
        takes_tools = self._config.chat_model.takes_tools
        if characters < _FEW_CHARACTERS and not (
            request.tools or request.functions or request.response_format
        ):
            check_rules(request, takes_tools=takes_tools)
        else:
            await asyncio.to_thread(check_rules, request, takes_tools=takes_tools)

    async def begin(self, prepared: PreparedChat, request_id: str, *, stream: bool) -> EngineAnswer:
        """Hand the prompt to the engine and wait for the first bytes of its answer."""
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            # The engine derives its own request id from this one and needs it unique, also after a retry.
            "x-request-id": f"{request_id}-{uuid.uuid4().hex[:8]}",
            AFFINITY_HEADER: prepared.affinity,
        }
        limits = self._limits
        timeout = limits.first_token_timeout_seconds if stream else limits.answer_timeout_seconds
        started = time.perf_counter()
        # A decoder that looks itself has media decoded only now.
        with naming(prepared.media_param):
            try:
                answer = await self.turns.answer(
                    prepared.tenant,
                    prepared.choices,
                    min(timeout, limits.turn_wait_seconds),
                    lambda: call_engine(
                        self._engine,
                        _PATH,
                        headers,
                        prepared.body,
                        prepared.attachments,
                        limits=limits,
                        first_byte_timeout_seconds=timeout,
                    ),
                )
            except BaseException:
                if prepared.tokens is not None:
                    prepared.tokens.settle(0)
                raise
        self._metrics.stage.labels("engine_first_byte").observe(time.perf_counter() - started)
        if stream and prepared.guard is not None:
            return guarded(answer, prepared.guard.pieces, prepared.choices)
        return answer

    async def complete(self, prepared: PreparedChat, request_id: str) -> bytes:
        """The whole answer as JSON bytes, with what the media gave."""
        answer = await self.begin(prepared, request_id, stream=False)
        body = await answer.read(self._limits.answer_timeout_seconds)
        try:
            decoded = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise EngineRefused("The model's engine gave an answer that could not be read.") from error
        self._count_usage(decoded.get("usage"), prepared)
        if prepared.meter is not None:
            prepared.meter.end()
        if prepared.guard is not None:
            await guarded_whole(decoded, prepared.guard.answers)
        return msgspec.json.encode(prepared.form.whole(decoded, prepared.report))

    def rewriter(self, prepared: PreparedChat) -> Callable[[Event], Event | None]:
        """What is done to the few events of a stream that end a choice or count tokens."""

        def rewrite(event: Event) -> Event | None:
            usage = event.get("usage")
            if isinstance(usage, dict):
                self._count_usage(usage, prepared)
                if not prepared.usage_wanted:
                    if not event.get("choices"):
                        return None
                    del event["usage"]
                else:
                    event["usage"] = complete_usage(usage, prepared.report)
            prepared.form.event(event)
            ends = any(choice.get("finish_reason") for choice in event.get("choices") or ())
            if ends and prepared.report is not None:
                event["manymodal"] = prepared.report.manymodal
            return event

        return rewrite

    async def _bring_in(
        self, tenant: str, use: MediaUse, options: PerceiveOptions, guard: Guard | None
    ) -> Perceived:
        async def bring(anew: bool) -> AdmittedMedia:
            with self._metrics.time_stage("admit"):
                return await admit_part(self._admission, tenant, use.medium, use.param, anew=anew)

        async def perceive(admitted: AdmittedMedia) -> Perceived:
            # What a policy wants looked at is never left out.
            asked = replace(options, whole=guard is not None)
            wanted = Wanted(admitted.record.ref, admitted.info, use.detail, asked)
            with self._metrics.time_stage("perceive"), naming(use.param):
                perceived = await self._strategy.perceive(wanted)
            if guard is not None:
                medium = perceived.medium
                await guard.perceived(
                    admitted.record.ref, admitted.info, medium.text_lines, medium.transcript, use.param
                )
            return perceived

        return await self._admission.use(bring, perceive)

    def _fuse(
        self, raw: dict[str, Any], request: ChatRequest, perceived: list[Perceived]
    ) -> tuple[FusedMedia, MediaReport]:
        fused = self._strategy.fuse(perceived, self._media_budget(raw, request), question_of(request))
        return fused, MediaReport(perceived, fused.blocks)

    def _media_budget(self, raw: dict[str, Any], request: ChatRequest) -> int:
        """Tokens of the context that text, template and the answer leave to the media."""
        text = sum(self._count(text) for text in texts_of(request))
        tools = self._count(msgspec.json.encode(raw["tools"]).decode()) if raw.get("tools") else 0
        context = self._config.chat_model.context_tokens
        return (
            context
            - text
            - tools
            - self._answer_tokens(request)
            - _TEMPLATE_TOKENS
            - _MESSAGE_TOKENS * len(request.messages)
        )

    async def _reserve(
        self, tenant: str, body: dict[str, Any], request: ChatRequest, attachments: tuple[Attachment, ...]
    ) -> TokenReservation | None:
        """Take what the tenant's limit of tokens must leave: the prompt as it stands, and the longest answers."""
        if not await self._limiter.limits_tokens(tenant):
            return None
        written = msgspec.json.encode([body["messages"], body.get("tools")]).decode()
        few = len(written) < _FEW_CHARACTERS
        tokens = self._count(written) if few else await asyncio.to_thread(self._count, written)
        tokens += sum(_attached_tokens(one) for one in attachments)
        return await self._limiter.reserve_tokens(
            tenant, tokens + _TEMPLATE_TOKENS + self._answer_tokens(request) * (request.n or 1)
        )

    def _answer_tokens(self, request: ChatRequest) -> int:
        asked = request.max_completion_tokens or request.max_tokens
        few = min(_DEFAULT_ANSWER_TOKENS, self._config.chat_model.context_tokens // 4)
        return asked if asked is not None else few

    def _count_usage(self, usage: Any, prepared: PreparedChat) -> None:
        if isinstance(usage, dict):
            prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
            self._metrics.count_usage(prompt, completion)
            if prepared.meter is not None:
                prepared.meter.count(completion)
            if prepared.tokens is not None and isinstance(prompt, int):
                prepared.tokens.settle(prompt + (completion if isinstance(completion, int) else 0))


def _attached_tokens(attachment: Attachment) -> int:
    vectors = getattr(attachment, "vectors", None)
    return _PICTURE_TOKENS if vectors is None else len(vectors)
