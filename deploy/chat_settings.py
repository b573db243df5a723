"""Settings of the decoder, and of how media become part of its prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deploy.adapter_settings import AdapterSettings
from encoders.errors import ModelUnavailable
from encoders.models.blip2 import DECODER_FOLDER, is_blip2
from encoders.registry import find
from encoders.types import MediaKind, ModelSpec
from fusion.bridge_folder import BridgeManifest, bridge_revision, check_fit, read_manifest
from fusion.config import BridgeConfig, Levels, NativeConfig
from fusion.errors import BridgeUnavailable
from fusion.picture_cost import PictureCost, picture_cost
from serving.catalogue import CHAT_ALIASES
from serving.config import ChatModel, EngineConfig, FusionName, ServedBridge, SoftTokenForm

__all__ = ["ChatSettings", "LevelSettings", "NativeSettings"]

_TEMPLATE_NAME = "chat_template.jinja"
_TEMPLATES = Path(__file__).parent / "profiles" / "templates"
_PICTURES = 16  # in one prompt, where nothing says another number
_ONE_PICTURE = frozenset({"blip-2"})  # families of which vLLM takes one picture in a prompt
_PICTURE_PLACES = frozenset(
    {"blip-2", "llava"}
)  # families that vLLM gives embeddings of pictures as they are


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LevelSettings(_Section):
    """Something by OpenAI's ``image_url.detail``. What is left out keeps the default of where it stands."""

    low: int = Field(gt=0)
    auto: int = Field(gt=0)
    high: int = Field(gt=0)

    def levels(self) -> Levels:
        """The same as fusion takes it."""
        return Levels(self.low, self.auto, self.high)


def _left_out_stays(default: LevelSettings) -> BeforeValidator:
    return BeforeValidator(
        lambda given: {**default.model_dump(), **given} if isinstance(given, dict) else given
    )


_VIEWS = LevelSettings(low=1, auto=1, high=5)
_SIDES = LevelSettings(low=512, auto=1024, high=2048)


class NativeSettings(_Section):
    """What a decoder that looks itself takes in one prompt, and what that costs of it.

    ``pictures`` are 16 if nothing is said, for models that take several. Without ``videos``, frames are shown as
    pictures; without ``recordings``, speech is written. ``picture_tokens`` is for models whose family is not known
    here. ``picture_sides`` are pixels of the longer side.
    """

    pictures: int | None = Field(default=None, gt=0, le=512)
    videos: int = Field(default=0, ge=0, le=64)
    recordings: int = Field(default=0, ge=0, le=64)
    picture_tokens: int | None = Field(default=None, gt=0)
    picture_sides: Annotated[LevelSettings, _left_out_stays(_SIDES)] = _SIDES
    sound_tokens_per_second: float = Field(default=25.0, gt=0)


class ChatSettings(_Section):
    """The decoder. ``threads`` 0 means one per core.

    ``fusion`` is how media reach it: written down (``text``), as soft tokens through a ``bridge`` (``qformer``; the
    bridge of a BLIP-2 checkpoint is in the model itself), or by looking itself (``native``). ``soft_tokens_as`` is
    where soft tokens stand: among those of words, in any decoder (``prompt_embeds``), or in the places of pictures,
    in a vision language model that is then served whole but for what looks (``image_embeds``). ``views`` are how
    many views of a picture become soft tokens. ``read_pictures`` writes down what is written in them, too, unless
    the decoder looks itself; reading takes longer than looking. ``side_channel`` sends streamed bodies from the
    engine to the gateway over a local socket instead of Ray's handle: faster, but both must run on one machine.
    ``tool_parser`` is vLLM's name for the form in which the model calls functions (``hermes``), ``chat_template``
    is used in place of the model's own: a file's path, or the name of one of the platform's (``chatml-tools``).
    Both are known of SmolLM2. Without a parser, as with an empty one, tools are refused. ``adapters`` are low-rank
    adapters of the model (PEFT's form): their folders, by the name that clients ask for.
    """

    model: str
    fusion: FusionName = "text"
    bridge: str | None = None
    soft_tokens_as: SoftTokenForm = "prompt_embeds"
    views: Annotated[LevelSettings, _left_out_stays(_VIEWS)] = _VIEWS
    read_pictures: bool = True
    native: NativeSettings = NativeSettings()
    context_tokens: int = Field(gt=0)
    max_streams: int = Field(gt=0)
    dtype: str
    enforce_eager: bool
    kv_cache_gib: int = Field(gt=0)
    threads: int = Field(default=0, ge=0)
    side_channel: bool
    media_token_budget: int = Field(default=1500, gt=0)
    tool_parser: str | None = None
    chat_template: str | None = None
    adapters: AdapterSettings = AdapterSettings()
    extra_arguments: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _adapters_have_names_of_their_own(self) -> ChatSettings:
        for name in (self.model, *CHAT_ALIASES):
            if name in self.adapters.folders:
                raise ValueError(f"adapters.folders: '{name}' is the decoder's own name; choose another")
        return self

    @property
    def bridge_name(self) -> str | None:
        """The folder of the bridge that is served, below the models' folder."""
        return (self.bridge or self.model) if self.fusion == "qformer" else None

    @property
    def _takes_pictures(self) -> bool:
        """Whether the decoder is served as a vision language model."""
        return self.fusion == "native" or (self.fusion == "qformer" and self.soft_tokens_as == "image_embeds")

    def decoder_folder(self, models_dir: Path) -> Path:
        """What vLLM loads: the model's folder, or of a BLIP-2 checkpoint that takes no pictures its decoder."""
        folder = models_dir / self.model
        if not self._takes_pictures and is_blip2(_facts(folder)):
            return folder / DECODER_FOLDER
        return folder

    def served(self, models_dir: Path) -> ChatModel:
        """The decoder as the gateway knows it. Raises ``ModelUnavailable`` when its context is shorter than set, or
        its tokenizer is not there.
        """
        folder = self.decoder_folder(models_dir)
        facts = _facts(folder)
        text = facts.get("text_config")
        longest = (text if isinstance(text, Mapping) else facts).get("max_position_embeddings")
        if isinstance(longest, int) and self.context_tokens > longest and not facts.get("rope_scaling"):
            raise ModelUnavailable(
                f"The model '{self.model}' has a context of {longest} tokens; chat.context_tokens is "
                f"{self.context_tokens}. Set it to {longest} or less."
            )
        tokenizer = folder / "tokenizer.json"
        if facts and not tokenizer.is_file():
            raise ModelUnavailable(
                f"The model '{self.model}' has no tokenizer.json, with which prompts are counted. Load its "
                "tokenizer with transformers' AutoTokenizer and save it into the model's folder."
            )
        return ChatModel(
            self.model,
            self.context_tokens,
            tokenizer,
            self.fusion,
            takes_tools=self._tool_parser(models_dir) is not None,
            adapters=tuple(self.adapters.folders),
        )

    def engine(self, models_dir: Path) -> EngineConfig:
        """Settings of the decoder's deployment."""
        native = self.native_config(models_dir)
        return EngineConfig(
            model_path=self.decoder_folder(models_dir),
            served_model_name=self.model,
            context_tokens=self.context_tokens,
            max_streams=self.max_streams,
            dtype=self.dtype,
            enforce_eager=self.enforce_eager,
            soft_tokens_as=self.soft_tokens_as if self.fusion == "qformer" else None,
            native_limits=native.limits if native is not None else {},
            chat_template=self._chat_template(models_dir),
            tool_parser=self._tool_parser(models_dir),
            adapters=self.adapters.found(models_dir),
            adapters_at_once=self.adapters.at_once,
            max_adapter_rank=self.adapters.max_rank,
            extra_arguments=self.extra_arguments,
        )

    def native_config(self, models_dir: Path) -> NativeConfig | None:
        """What a decoder that looks itself takes in; ``None`` for the other strategies.

        Raises ``ModelUnavailable`` when it is not known what a picture costs of its prompt.
        """
        if self.fusion != "native":
            return None
        native, folder = self.native, models_dir / self.model
        cost = picture_cost(folder)
        if native.picture_tokens is not None:
            cost = PictureCost(native.picture_tokens)
        facts = _facts(folder)
        if cost is None and not facts:
            raise ModelUnavailable(
                f"The model '{self.model}' is not prepared: run `manymodal models prepare`, or put its files into "
                f"the folder '{self.model}' among the models."
            )
        if cost is None:
            raise ModelUnavailable(
                f"The model '{self.model}' is not known to look at pictures itself, which chat.fusion 'native' "
                f"needs (its kind is '{facts.get('model_type', 'unknown')}'). Choose a vision language model; if "
                "it is one that vLLM serves, say in chat.native.picture_tokens how many tokens of its prompt a "
                "picture takes."
            )
        return NativeConfig(
            limits={
                MediaKind.IMAGE: self._pictures(facts),
                MediaKind.VIDEO: native.videos,
                MediaKind.AUDIO: native.recordings,
            },
            cost=cost,
            sides=native.picture_sides.levels(),
            sound_tokens_per_second=native.sound_tokens_per_second,
        )

    def _pictures(self, facts: Mapping[str, Any]) -> int:
        """How many pictures one prompt takes."""
        return self.native.pictures or (1 if facts.get("model_type") in _ONE_PICTURE else _PICTURES)

    def _tool_parser(self, models_dir: Path) -> str | None:
        chosen = self.tool_parser if self.tool_parser is not None else self._known("tool_parser", models_dir)
        return chosen or None

    def _known(self, what: str, models_dir: Path) -> str | None:
        """What the model's file says of its tools; nothing of folders of the user's own."""
        try:
            return find(self.model, models_dir).extra.get(what)
        except ModelUnavailable:
            return None

    def _chat_template(self, models_dir: Path) -> Path | None:
        """The one that is set, or that of a BLIP-2 checkpoint which brings none: made for its decoder, when this
        was split off. Raises ``ModelUnavailable`` when the one that is set is not there.
        """
        wanted = self.chat_template or self._known("chat_template", models_dir)
        if wanted is not None:
            ours = _TEMPLATES / f"{wanted}.jinja"
            chosen = ours if ours.parent == _TEMPLATES and ours.is_file() else Path(wanted)
            if not chosen.is_file():
                names = ", ".join(sorted(file.stem for file in _TEMPLATES.glob("*.jinja")))
                raise ModelUnavailable(
                    "chat.chat_template is neither a file nor the name of one of the platform's templates "
                    f"({names})."
                )
            return chosen
        folder = models_dir / self.model
        template = folder / DECODER_FOLDER / _TEMPLATE_NAME
        if not self._takes_pictures or not is_blip2(_facts(folder)) or (folder / _TEMPLATE_NAME).is_file():
            return None
        return template if template.is_file() else None

    def manifest(self, models_dir: Path) -> BridgeManifest | None:
        """Of the bridge that is served. Raises ``BridgeUnavailable``."""
        return None if self.bridge_name is None else read_manifest(models_dir / self.bridge_name)

    def token_models(self, models_dir: Path) -> dict[str, str]:
        """The encoders whose tokens the bridge takes, by branch; none while it is not there."""
        try:
            manifest = self.manifest(models_dir)
        except BridgeUnavailable:
            return {}
        branches = manifest.branches if manifest is not None else {}
        return {name: branch.model for name, branch in branches.items() if name != "text"}

    def served_bridge(self, models_dir: Path, speech: ModelSpec) -> ServedBridge | None:
        """The bridge as the gateway knows it. Raises ``BridgeUnavailable`` unless it fits decoder and encoders."""
        manifest, name = self.manifest(models_dir), self.bridge_name
        if manifest is None or name is None:
            return None
        models = {} if "speech" not in manifest.branches else {"speech": speech}
        if "vision" in manifest.branches:
            models["vision"] = find(manifest.branches["vision"].model, models_dir)
        check_fit(name, manifest, self.model, self.decoder_folder(models_dir), models)
        pictures = None
        if self.soft_tokens_as == "image_embeds":
            pictures = self._picture_places(name, manifest, _facts(models_dir / self.model))
        return ServedBridge(
            name=name,
            revision=bridge_revision(models_dir / name, manifest),
            decoder=self.model,
            queries=manifest.queries,
            vision=models.get("vision"),
            speech=models.get("speech"),
            pictures=pictures,
        )

    def _picture_places(self, name: str, manifest: BridgeManifest, facts: Mapping[str, Any]) -> int:
        """How many of a bridge's pieces may stand in the places of pictures. Raises ``ModelUnavailable`` for a
        decoder that has none, ``BridgeUnavailable`` for a bridge whose soft tokens do not fit there.
        """
        family = facts.get("model_type", "unknown")
        if family not in _PICTURE_PLACES:
            raise ModelUnavailable(
                f"The model '{self.model}' (its kind is '{family}') does not take soft tokens in the places of "
                f"pictures; kinds that do are {', '.join(sorted(_PICTURE_PLACES))}. Set chat.soft_tokens_as to "
                "'prompt_embeds', which any decoder takes."
            )
        places = int(facts.get("num_query_tokens", 32)) if family == "blip-2" else manifest.queries
        if manifest.queries != places or "speech" in manifest.branches:
            why = (
                "it also takes sound"
                if "speech" in manifest.branches
                else f"it gives {manifest.queries} soft tokens, and a picture has {places}"
            )
            raise BridgeUnavailable(
                f"The bridge '{name}' does not fit the places of pictures in '{self.model}': {why}. Set "
                "chat.soft_tokens_as to 'prompt_embeds'."
            )
        return self._pictures(facts)

    def bridge_config(
        self, models_dir: Path, served: ServedBridge, device: str, threads: int
    ) -> BridgeConfig:
        """Settings of the bridge's deployment."""
        return BridgeConfig(models_dir / served.name, self.model, device, threads, served.revision)

    def is_own(self, models_dir: Path) -> bool:
        """Whether the decoder is a folder of the user's own that only vLLM reads: nothing is to be prepared."""
        if not (models_dir / self.model / "config.json").is_file():
            return False
        try:
            find(self.model, models_dir)
        except ModelUnavailable:
            return True
        return False


def _facts(folder: Path) -> Mapping[str, Any]:
    """The ``config.json`` of a model, empty where there is none yet."""
    try:
        facts = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
