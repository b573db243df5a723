"""Settings of the HTTP surface, built once in ``deploy`` and passed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encoders.config import DecodeLimits
from encoders.types import FrameSampling, MediaKind, ModelSpec, Quality
from fusion.config import FusionConfig, Levels, NativeConfig
from search.types import IndexSpec
from serving.access.config import AccessConfig
from serving.batches.config import BatchConfig
from serving.breaker import BreakerConfig
from serving.ingest.config import IngestConfig
from serving.slo import Slo
from serving.tenant_settings import TenantSettings

__all__ = [
    "ChatModel",
    "EngineConfig",
    "FusionName",
    "GatewayConfig",
    "RequestLimits",
    "ServedBridge",
    "SoftTokenForm",
]

FusionName = Literal["text", "qformer", "native"]
"""How media become part of the prompt: see ``serving.strategies``."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may bring. Every limit is named in the error that enforces it.

    A file may be larger than a medium may be (``max_file_bytes`` in one piece, ``max_upload_bytes`` in parts of
    ``max_part_bytes``): it is stored and given back, but not decoded. ``perceptions_at_once`` is how many tasks on
    media of all requests a gateway has at the encoders, ``perceptions_waiting`` how many wait for that. Who has no
    turn at the decoder within ``turn_wait_seconds`` is refused: with a line of seconds, not minutes, what is
    answered under overload is still answered in time.
    """

    max_body_bytes: int = 96 << 20
    max_media_bytes: int = 256 << 20
    max_file_bytes: int = 512 << 20
    max_upload_bytes: int = 8 << 30
    max_part_bytes: int = 64 << 20
    max_media_per_request: int = 16
    max_embedding_inputs: int = 2048
    max_embedding_characters: int = 2_000_000
    max_text_characters: int = 200_000
    max_top_k: int = 100
    max_search_depth: int = 10_000
    max_line_bytes: int = 8 << 20
    fetch_timeout_seconds: float = 20.0
    admission_wait_seconds: float = 30.0
    max_redirects: int = 5
    perception_timeout_seconds: float = 300.0
    perceptions_at_once: int = 16
    perceptions_waiting: int = 2048
    turn_wait_seconds: float = 120.0
    first_token_timeout_seconds: float = 120.0
    answer_timeout_seconds: float = 600.0
    stall_timeout_seconds: float = 30.0
    piece_timeout_seconds: float = 120.0
    head_timeout_seconds: float = 20.0
    body_idle_seconds: float = 20.0
    min_body_bytes_per_second: float = 512.0


@dataclass(frozen=True, slots=True)
class ChatModel:
    """The served decoder: its public name, how long its context is, its tokenizer file for budgeting, whether it
    can be asked to call functions, and the names of its low-rank adapters, which are models to clients.
    """

    name: str
    context_tokens: int
    tokenizer_file: Path | None
    fusion: FusionName = "text"
    takes_tools: bool = True
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedBridge:
    """The bridge as the gateway knows it: its name and revision, and the decoder it was made for.

    ``queries`` soft tokens stand for one view, frame or stretch of sound. ``vision`` and ``speech`` are the
    encoders whose tokens it takes, where it has such a branch. ``pictures`` is how many views and frames one prompt
    takes where each stands in the place of a picture (``image_embeds``); ``None``: as many as there is room for.
    """

    name: str
    revision: str
    decoder: str
    queries: int
    vision: ModelSpec | None
    speech: ModelSpec | None = None
    pictures: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Settings of one gateway replica. ``cache_secret`` keys the HMAC of every cache key.

    ``allowed_hosts`` are names, without port, that the gateway answers to besides those of this machine (see
    ``serving.browser_guard``); ``media_hosts`` the only ones that media are fetched from (``serving.fetch``).
    ``decode_limits`` are the encoders' own: facts found under other limits are
    not believed. ``index`` is what collections are made with that do not say it themselves. ``gate_file`` are the
    weights of the gate that makes one vector of several parts (``fusion.vector_gate``); without it all count alike.
    The strategy ``qformer`` needs ``bridge``, and takes ``views`` of a picture; ``native`` needs ``native``.
    ``tenant_defaults`` hold for tenants that have no settings of their own. ``access``: whether keys are needed.
    ``text_tokenizer_file`` is that of the text model, for clients that send its tokens. ``text_variants`` are
    further text models, for ``/v1/embeddings``.
    ``max_requests`` are under way at once, fewer than what Ray Serve lets in; ``engine_slots`` is how many answers
    the decoder's replicas make at once, for which tenants take turns. ``playground``: whether the page is served at
    ``/``.
    """

    chat_model: ChatModel
    vision_model: ModelSpec
    speech_model: ModelSpec
    text_model: ModelSpec
    ocr_model: ModelSpec
    cache_secret: bytes = field(repr=False)
    sampling: FrameSampling = field(default_factory=FrameSampling)
    quality: Quality = Quality.FAST
    allow_private_urls: bool = False
    allowed_hosts: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] | None = None
    default_tenant: str = "default"
    limits: RequestLimits = field(default_factory=RequestLimits)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decode_limits: DecodeLimits = field(default_factory=DecodeLimits)
    index: IndexSpec = field(default_factory=IndexSpec)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    gate_file: Path | None = None
    bridge: ServedBridge | None = None
    views: Levels = field(default_factory=lambda: Levels(1, 1, 5))
    native: NativeConfig | None = None
    tenant_defaults: TenantSettings = field(default_factory=TenantSettings)
    access: AccessConfig = field(default_factory=AccessConfig)
    moderation_text: ModelSpec | None = None
    moderation_image: ModelSpec | None = None
    voice_model: ModelSpec | None = None
    text_tokenizer_file: Path | None = None
    text_variants: tuple[ModelSpec, ...] = ()
    max_requests: int = 240
    engine_slots: int = 256
    slo: Slo = field(default_factory=Slo)
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    playground: bool = True


SoftTokenForm = Literal["prompt_embeds", "image_embeds"]
"""How a decoder takes soft tokens: in the place of text tokens, or, where the model's own code for pictures splices
them in, in the place of what its own vision tower would give.
"""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """One decoder on vLLM. Everything here becomes a flag of vLLM's own server, so its documents apply.

    ``soft_tokens_as`` is the form in which the decoder takes soft tokens; without it they are refused. They must
    have been made for ``soft_tokens_of``, which is the served name where it is empty. ``native_limits`` names the
    kinds of media the decoder takes in itself, with how many of each one prompt may hold. Their pixels are kept, up
    to ``pixel_cache_bytes``, and so is what vLLM makes of them (``processor_cache_bytes``, once in each of its
    processes). ``chat_template`` is a file for models that bring none, or none with tools. ``tool_parser`` is
    vLLM's name for the form in which the decoder calls functions; without it none are called. ``extra_arguments``
    are further flags as on the command line (``("--block-size", "32")``). ``traces_to`` is the address that vLLM
    sends its own spans to. ``adapters`` are folders of low-rank adapters (PEFT's form) by name; up to
    ``adapters_at_once`` of them answer together, others take the place of those not asked for longest.
    """

    model_path: Path
    served_model_name: str
    context_tokens: int = 4096
    max_streams: int = 32
    dtype: str = "float32"
    enforce_eager: bool = True
    extra_arguments: tuple[str, ...] = ()
    soft_tokens_as: SoftTokenForm | None = None
    soft_tokens_of: str = ""
    native_limits: Mapping[MediaKind, int] = field(default_factory=dict)
    media_timeout_seconds: float = 120.0
    pixel_cache_bytes: int = 256 << 20
    processor_cache_bytes: int = 1 << 30
    chat_template: Path | None = None
    tool_parser: str | None = None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    adapters_at_once: int = 4
    max_adapter_rank: int = 16
    traces_to: str | None = None

    def arguments(self) -> list[str]:
        """The flags, as ``python -m vllm.entrypoints.launchers.api_server.entry`` takes them."""
        flags = [
            *("--model", str(self.model_path)),
            *("--served-model-name", self.served_model_name),
            *("--max-model-len", str(self.context_tokens)),
            *("--max-num-seqs", str(self.max_streams)),
            *("--dtype", self.dtype),
            "--disable-uvicorn-access-log",
            "--enable-prompt-tokens-details",
        ]
        if self.enforce_eager:
            flags.append("--enforce-eager")
        if self.tool_parser is not None:
            flags += ["--enable-auto-tool-choice", "--tool-call-parser", self.tool_parser]
            # Else arguments follow their schema only where a tool is said to be strict.
            flags += ["--tool-strict-level", "parameter"]
        if self.traces_to is not None:
            flags += ["--otlp-traces-endpoint", self.traces_to]
        if self.chat_template is not None:
            flags += ["--chat-template", str(self.chat_template)]
        if self.adapters:
            flags += ["--enable-lora", "--max-loras", str(self.adapters_at_once)]
            flags += ["--max-cpu-loras", str(max(len(self.adapters), self.adapters_at_once))]
            flags += ["--max-lora-rank", str(self.max_adapter_rank), "--lora-modules"]
            flags += [f"{name}={folder}" for name, folder in self.adapters.items()]
        return [*flags, *self._media_flags(), *self.extra_arguments]

    def _media_flags(self) -> list[str]:
        flags = []
        if self.soft_tokens_as == "prompt_embeds":
            flags.append("--enable-prompt-embeds")
        elif self.soft_tokens_as == "image_embeds":
            flags.append("--enable-mm-embeds")
        if self.native_limits or self.soft_tokens_as == "image_embeds":
            # None of a kind: vLLM then does not load what looks at it or listens to it.
            limits = {kind.value: self.native_limits.get(kind, 0) for kind in MediaKind}
            flags += ["--limit-mm-per-prompt", json.dumps(limits)]
            flags += ["--mm-processor-cache-gb", f"{self.processor_cache_bytes / (1 << 30):g}"]
        return flags
