"""All settings, resolved once: profile file, then environment (``MANYMODAL_*``), then command-line options."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deploy.access_settings import AccessSettings
from deploy.batch_settings import BatchSettings
from deploy.chat_settings import ChatSettings
from deploy.cluster_rules import check_several_machines
from deploy.encoder_settings import EncoderSettings
from deploy.errors import SpacesDiffer
from deploy.kept_secret import kept_secret
from deploy.limit_settings import TenantLimitSettings, requests_at_once
from deploy.moderation_settings import ModerationSettings
from deploy.observability_settings import MetricsSettings, SloSettings, TracingSettings
from deploy.pool_settings import DeploymentName, DeploymentSettings, Ingress, RayAddress, check_deployments
from deploy.profile_files import profile_values
from deploy.search_settings import SearchSettings
from deploy.storage_settings import StorageSettings
from encoders.config import DecodeLimits, EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.registry import find, space
from encoders.types import FrameSampling, SamplingMethod
from fusion.config import BridgeConfig, FusionConfig
from fusion.vector_gate import VectorGate
from search.config import SearchConfig
from serving.breaker import BreakerConfig
from serving.catalogue import space_model
from serving.config import EngineConfig, GatewayConfig, RequestLimits
from serving.tenant_settings import TenantSettings
from storage.config import StorageConfig

__all__ = [
    "ChatSettings",
    "DeploymentSettings",
    "EncoderSettings",
    "Settings",
    "load_settings",
]

# As a URL has it on the wire: names that are not ASCII are given as punycode.
_MEDIA_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VideoSettings(_Section):
    """How videos are looked at: see ``encoders.types.FrameSampling``."""

    max_frames: int = Field(gt=0, le=128)
    method: SamplingMethod = SamplingMethod.UNIFORM
    frames_per_second: float = Field(default=1.0, gt=0, le=60)
    drop_near_duplicates: bool = True

    def sampling(self) -> FrameSampling:
        """The same as the encoders take it."""
        return FrameSampling(
            method=self.method,
            max_frames=self.max_frames,
            frames_per_second=self.frames_per_second,
            drop_near_duplicates=self.drop_near_duplicates,
        )


class Settings(BaseSettings):
    """The platform's settings. ``load_settings`` builds them; everything else receives finished configs.

    ``media_hosts`` are the only ones that media are fetched from: names, ``*.example.org`` for all below one; an
    empty list for none, nothing said for all on the public internet. ``secret`` (64 hex digits) keys cache keys and
    signs links. Machines that share a store or a Redis must be given the same one; by default it is made once and
    kept in the data folder.
    """

    model_config = SettingsConfigDict(
        env_prefix="MANYMODAL_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # some of it is secret
    )

    profile: str
    host: str
    port: int = Field(gt=0, lt=65535)
    ingress: Ingress = "direct"
    ray_address: RayAddress = "local"
    data_dir: Path = Field(default_factory=lambda: _xdg("XDG_DATA_HOME", ".local/share"))
    models_dir: Path = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache") / "models")
    chat: ChatSettings
    encoders: EncoderSettings
    video: VideoSettings
    deployments: dict[DeploymentName, DeploymentSettings]
    object_store_bytes: int = Field(ge=80 << 20)
    drain_seconds: int = Field(gt=0)
    start_timeout_seconds: int = Field(gt=0)
    allowed_hosts: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] | None = None
    access: AccessSettings = AccessSettings()
    tenant_limits: TenantLimitSettings = TenantLimitSettings()
    storage: StorageSettings = StorageSettings()
    search: SearchSettings = SearchSettings()
    secret: SecretStr | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    limits: RequestLimits = RequestLimits()
    decoding: DecodeLimits = DecodeLimits()
    moderation: ModerationSettings = ModerationSettings()
    playground: bool = True
    batches: BatchSettings = BatchSettings()
    tracing: TracingSettings = TracingSettings()
    metrics: MetricsSettings = MetricsSettings()
    slo: SloSettings = SloSettings()
    breaker: BreakerConfig = BreakerConfig()

    @field_validator("media_hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if not all(map(_MEDIA_HOST.fullmatch, hosts or ())):
            raise ValueError(
                "must be names of hosts without scheme, port or path, such as media.example.org, or *.example.org "
                "for all below one"
            )
        return hosts

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ValueError("must be an IPv4 address, such as 127.0.0.1, or 0.0.0.0 for all") from None
        if address.version != 4:
            raise ValueError("must be an IPv4 address; put a proxy in front for IPv6")
        return host

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        self.access.config(self.host)
        check_several_machines(self)
        return self

    @field_validator("deployments", mode="before")
    @classmethod
    def _null_takes_out(cls, given: Any) -> Any:
        return (
            {name: value for name, value in given.items() if value is not None}
            if isinstance(given, dict)
            else given
        )

    @field_validator("deployments")
    @classmethod
    def _complete(
        cls, deployments: dict[DeploymentName, DeploymentSettings]
    ) -> dict[DeploymentName, DeploymentSettings]:
        check_deployments(deployments)
        return deployments

    @field_validator("secret")
    @classmethod
    def _hex(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not re.fullmatch(r"[0-9A-Fa-f]{64}", secret.get_secret_value()):
            raise ValueError("must be 64 hexadecimal digits, for example of `openssl rand -hex 32`")
        return secret

    @field_validator("data_dir", "models_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command-line options before the environment; the profile comes in by ``load_settings``, last."""
        return init_settings, env_settings, _ProfileSource(settings_cls, init_settings, env_settings)

    def gateway_config(self) -> GatewayConfig:
        """Settings of the gateway's deployment. Makes, once, the secret that keys every cache key.

        Raises ``ModelUnavailable`` for models there are not or that are for something else, ``SpacesDiffer`` when
        texts and pictures would not be comparable, ``BridgeUnavailable`` for a bridge that does not fit, and
        ``FusionError`` for a gate that does not.
        """
        vision, speech, text, ocr = self.encoders.specs(self.models_dir)
        text_judge, image_judge = self.encoders.moderation_specs(self.models_dir)
        if space(vision) != space(text):
            raise SpacesDiffer(
                f"The vision model '{vision.name}' places pictures in the space '{space(vision)}', but the text "
                f"model '{text.name}' has '{space(text)}'. Search needs one space: set encoders.vision and "
                "encoders.text to models of the same one."
            )
        if self.search.gate_file is not None:
            VectorGate.load(self.search.gate_file, text.dimensions or 0)
        return GatewayConfig(
            chat_model=self.chat.served(self.models_dir),
            vision_model=vision,
            speech_model=speech,
            text_model=text,
            ocr_model=ocr,
            cache_secret=self.secret_bytes(),
            sampling=self.video.sampling(),
            quality=self.encoders.quality,
            allowed_hosts=self.allowed_hosts,
            media_hosts=self.media_hosts,
            access=self.access.config(self.host),
            limits=self.limits,
            decode_limits=self.decoding,
            fusion=FusionConfig(
                media_token_budget=self.chat.media_token_budget, read_pictures=self.chat.read_pictures
            ),
            index=self.search.spec(),
            batches=self.batches.config(),
            gate_file=self.search.gate_file,
            bridge=self.chat.served_bridge(self.models_dir, speech),
            views=self.chat.views.levels(),
            native=self.chat.native_config(self.models_dir),
            tenant_defaults=TenantSettings(self.tenant_limits.limits(), self.moderation.policy()),
            max_requests=requests_at_once(self.deployments["gateway"].max_ongoing_requests),
            engine_slots=self._engine_slots(),
            moderation_text=text_judge,
            moderation_image=image_judge,
            voice_model=self.encoders.voice_spec(self.models_dir),
            text_tokenizer_file=self.encoders.text_tokenizer(self.models_dir),
            text_variants=self.encoders.variant_specs(self.models_dir),
            slo=self.slo.slo(),
            breaker=self.breaker,
            playground=self.playground,
        )

    def _engine_slots(self) -> int:
        """How many answers one gateway lets run at once: its share of what all decoders can take."""
        slots = self.chat.max_streams * self.deployments["engine"].most_replicas
        return -(-slots // self.deployments["gateway"].fewest_replicas)

    def encoder_config(self) -> EncoderConfig:
        """Settings of the encoders' deployment."""
        token_model = self.chat.token_models(self.models_dir).get("vision")
        specs = list(self.encoders.specs(self.models_dir))
        if token_model is not None:
            specs.append(find(token_model, self.models_dir))
        specs += filter(None, self.encoders.moderation_specs(self.models_dir))
        specs += filter(None, [self.encoders.voice_spec(self.models_dir)])
        variants = self.encoders.variant_specs(self.models_dir)
        specs += variants
        return EncoderConfig(
            models_dir=self.models_dir,
            vision_model=self.encoders.vision,
            speech_model=self.encoders.speech,
            text_model=self.encoders.text,
            ocr_model=self.encoders.ocr,
            threads=self.encoders.threads,
            device=self.encoders.device,
            quality=self.encoders.quality,
            compiled=self.encoders.compiled,
            text_batches=self.encoders.text_batches,
            vision_batches=self.encoders.vision_batches,
            max_memory_bytes=self.encoders.max_memory_bytes,
            revisions={spec.name: spec.revision for spec in specs},
            limits=self.decoding,
            token_model=token_model,
            moderation_text_model=self.encoders.moderation_text,
            moderation_image_model=self.encoders.moderation_image,
            voice_model=self.encoders.voice,
            text_variants=tuple(spec.name for spec in variants),
            variant_memory_bytes=self.encoders.variant_memory_bytes,
        )

    def bridge_config(self) -> BridgeConfig | None:
        """Settings of the bridge's deployment; ``None`` where none is served."""
        served = self.chat.served_bridge(self.models_dir, self.encoders.specs(self.models_dir)[1])
        if served is None:
            return None
        return self.chat.bridge_config(self.models_dir, served, self.encoders.device, self.encoders.threads)

    def engine_config(self) -> EngineConfig:
        """Settings of the decoder's deployment."""
        return replace(self.chat.engine(self.models_dir), traces_to=self.tracing.address)

    def search_config(self) -> SearchConfig:
        """Settings of the search deployment. Collections lie where media do: in the bucket if there is one."""
        text = find(self.encoders.text, self.models_dir)
        if (
            text.dimensions is None
        ):  # ``gateway_config`` lets only text models through, and each of them says it
            raise ModelUnavailable(f"The model '{self.encoders.text}' does not say how long its vectors are.")
        s3 = self.storage.s3
        return SearchConfig(
            root=self.data_dir / "collections",
            dimensions=text.dimensions,
            threads=self.search.threads or self.encoders.threads,
            s3=None if s3 is None else s3.config(),
            model=space_model(text),
            index=self.search.spec(),
            flat_rows=self.search.flat_rows,
            pq_rows=self.search.pq_rows,
        )

    def storage_config(self) -> StorageConfig:
        """Settings of storage."""
        return self.storage.config(self.data_dir)

    def secret_bytes(self) -> bytes:
        """The secret that keys every cache key and signs links. Made, once, when none is set."""
        if self.secret is None:
            return kept_secret(self.make_data_dir())
        return bytes.fromhex(self.secret.get_secret_value())

    def make_data_dir(self) -> Path:
        """The data folder, made for its owner alone when it is not there."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.data_dir

    def model_names(self) -> tuple[str, ...]:
        """Every model this profile needs prepared."""
        encoders = self.encoders
        names = (
            *(() if self.chat.is_own(self.models_dir) else (self.chat.model,)),
            encoders.text,
            encoders.vision,
            encoders.speech,
            encoders.ocr,
            *filter(None, (encoders.moderation_text, encoders.moderation_image, encoders.voice)),
            *encoders.text_variants,
            *self.chat.token_models(self.models_dir).values(),
        )
        return tuple(dict.fromkeys(names))


class _ProfileSource(PydanticBaseSettingsSource):
    """The profile's YAML file. Which one is said by the sources before it; ``laptop`` otherwise."""

    def __init__(self, settings_cls: type[BaseSettings], *before: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._before = before

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise AssertionError("unused: this source answers as a whole")

    def __call__(self) -> dict[str, Any]:
        name = next(
            (values["profile"] for source in self._before if "profile" in (values := source())), "laptop"
        )
        return {"profile": name, **profile_values(name)}


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Resolve the settings. ``overrides`` are command-line options; ``None`` values are left out.

    Raises ``ValueError`` (pydantic's ``ValidationError`` is one) with the field that is wrong.
    """
    return Settings(**{key: value for key, value in (overrides or {}).items() if value is not None})


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback) / "manymodal"
