"""Settings of fusion: what is served for each strategy, and what is refused in clear words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_blip2 import QUERIES, WIDTH, tiny_blip2

from deploy.settings import Settings, load_settings
from encoders.decoder_split import CHAT_TEMPLATE
from encoders.errors import ModelUnavailable
from encoders.models.blip2 import finish
from encoders.types import MediaKind
from fusion.bridge_folder import Branch, BridgeManifest
from fusion.config import Levels
from fusion.errors import BridgeUnavailable

SMOLLM2 = "smollm2-135m-instruct"

Load = Callable[..., Settings]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLIP-2 checkpoint in a models folder of its own."""
    return tiny_blip2(tmp_path_factory.mktemp("models") / "tiny-blip2", "llama")


@pytest.fixture
def load(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Settings with that models folder; keywords are those of ``chat``, ``__`` for nested ones."""

    def load(**chat: Any) -> Settings:
        for name, value in {"context_tokens": 1024, **chat}.items():
            monkeypatch.setenv(f"MANYMODAL_CHAT__{name.upper()}", str(value))
        return load_settings({"data_dir": tmp_path / "data", "models_dir": checkpoint.parent})

    return load


def write_manifest(folder: Path, manifest: BridgeManifest) -> None:
    """A bridge whose weights are never looked at."""
    from dataclasses import asdict

    folder.mkdir()
    written = {"format": 1, **asdict(manifest), "weights_sha256": "ab" * 32}
    (folder / "bridge.json").write_text(json.dumps(written))


@pytest.fixture
def bridge(checkpoint: Path) -> Any:
    """``bridge(name, manifest)`` lies in the models folder during the test."""
    written: list[Path] = []

    def write(name: str, manifest: BridgeManifest) -> None:
        written.append(checkpoint.parent / name)
        write_manifest(written[-1], manifest)

    yield write
    for folder in written:
        shutil.rmtree(folder)


def test_the_text_strategy_serves_no_bridge_and_looks_at_nothing(load: Load) -> None:
    settings = load()
    gateway, engine = settings.gateway_config(), settings.engine_config()
    assert (gateway.chat_model.fusion, gateway.bridge, gateway.native) == ("text", None, None)
    assert (engine.soft_tokens_as, dict(engine.native_limits)) == (None, {})
    assert settings.bridge_config() is None
    assert settings.encoder_config().token_model is None


def test_a_blip2_checkpoint_is_vision_model_bridge_and_decoder(load: Load, checkpoint: Path) -> None:
    settings = load(model="tiny-blip2", fusion="qformer")
    gateway, engine, encoders = (
        settings.gateway_config(),
        settings.engine_config(),
        settings.encoder_config(),
    )
    assert gateway.bridge is not None
    assert (gateway.bridge.name, gateway.bridge.decoder, gateway.bridge.queries) == (
        "tiny-blip2",
        "tiny-blip2",
        QUERIES,
    )
    assert gateway.bridge.vision is not None
    assert gateway.bridge.speech is None
    assert gateway.chat_model.tokenizer_file == checkpoint / "decoder" / "tokenizer.json"
    assert (engine.model_path, engine.soft_tokens_as) == (checkpoint / "decoder", "prompt_embeds")
    assert engine.served_model_name == "tiny-blip2"
    assert encoders.token_model == "tiny-blip2"
    assert encoders.revisions["tiny-blip2"] == gateway.bridge.vision.revision
    bridge = settings.bridge_config()
    assert bridge is not None
    assert (bridge.folder, bridge.decoder) == (checkpoint, "tiny-blip2")
    assert bridge.revision == gateway.bridge.revision
    assert "tiny-blip2" in settings.model_names()


def test_a_trained_bridge_joins_a_vision_model_to_a_decoder(
    load: Load, bridge: Any, checkpoint: Path
) -> None:
    vision = load(model="tiny-blip2", fusion="qformer").gateway_config().bridge
    assert vision is not None
    assert vision.vision is not None
    branches = {"vision": Branch("tiny-blip2", vision.vision.revision, 64)}
    bridge("mine", BridgeManifest("tiny-blip2", WIDTH, 4, branches))
    settings = load(model="tiny-blip2", fusion="qformer", bridge="mine")
    served = settings.gateway_config().bridge
    assert served is not None
    assert (served.name, served.queries) == ("mine", 4)
    assert served.revision != vision.revision
    assert "mine" not in settings.model_names()


@pytest.mark.parametrize(
    ("decoder", "width", "revision", "words"),
    [
        (SMOLLM2, WIDTH, None, "made for the decoder 'smollm2-135m-instruct', and 'tiny-blip2' is served"),
        ("tiny-blip2", 576, None, f"width 576, and the decoder 'tiny-blip2' takes {WIDTH}"),
        ("tiny-blip2", WIDTH, "older", "trained on other weights"),
    ],
)
def test_a_bridge_that_does_not_fit_is_refused_at_start(
    load: Load, bridge: Any, decoder: str, width: int, revision: str | None, words: str
) -> None:
    vision = load(model="tiny-blip2", fusion="qformer").gateway_config().bridge
    assert vision is not None
    assert vision.vision is not None
    branch = Branch("tiny-blip2", revision or vision.vision.revision, 64)
    bridge("other", BridgeManifest(decoder, width, 4, {"vision": branch}))
    with pytest.raises(BridgeUnavailable, match=words):
        load(model="tiny-blip2", fusion="qformer", bridge="other").gateway_config()


def test_a_bridge_that_is_not_there_is_named(load: Load) -> None:
    settings = load(model="tiny-blip2", fusion="qformer", bridge="nowhere")
    assert "tiny-blip2" in settings.model_names()
    with pytest.raises(BridgeUnavailable, match="no bridge 'nowhere'"):
        settings.gateway_config()


def test_a_decoder_that_looks_itself_is_served_whole(load: Load, checkpoint: Path) -> None:
    settings = load(model="tiny-blip2", fusion="native")
    gateway, engine = settings.gateway_config(), settings.engine_config()
    assert engine.model_path == checkpoint
    assert engine.soft_tokens_as is None
    assert engine.native_limits[MediaKind.IMAGE] == 1  # vLLM's BLIP-2 takes one picture
    assert engine.native_limits[MediaKind.VIDEO] == 0
    assert gateway.native is not None
    assert gateway.native.cost.tokens(640, 480, 1024) == QUERIES
    assert settings.bridge_config() is None


def test_soft_tokens_may_stand_in_the_places_of_pictures(load: Load, checkpoint: Path) -> None:
    """The checkpoint is served whole, and vLLM loads nothing of it that looks."""
    settings = load(model="tiny-blip2", fusion="qformer", soft_tokens_as="image_embeds")
    gateway, engine = settings.gateway_config(), settings.engine_config()
    assert (engine.model_path, engine.soft_tokens_as) == (checkpoint, "image_embeds")
    assert dict(engine.native_limits) == {}
    assert gateway.bridge is not None
    assert gateway.bridge.pictures == 1  # vLLM's BLIP-2 takes one picture
    assert gateway.chat_model.tokenizer_file == checkpoint / "tokenizer.json"
    assert settings.bridge_config() is not None
    elsewhere = load(model="tiny-blip2", fusion="qformer", soft_tokens_as="prompt_embeds").gateway_config()
    assert elsewhere.bridge is not None
    assert elsewhere.bridge.pictures is None


def test_soft_tokens_that_fit_no_picture_are_refused_at_start(
    load: Load, bridge: Any, checkpoint: Path
) -> None:
    vision = load(model="tiny-blip2", fusion="qformer").gateway_config().bridge
    assert vision is not None
    assert vision.vision is not None
    branches = {"vision": Branch("tiny-blip2", vision.vision.revision, 64)}
    bridge("narrow", BridgeManifest("tiny-blip2", WIDTH, QUERIES - 1, branches))
    with pytest.raises(BridgeUnavailable, match=f"{QUERIES - 1} soft tokens, and a picture has {QUERIES}"):
        load(
            model="tiny-blip2", fusion="qformer", bridge="narrow", soft_tokens_as="image_embeds"
        ).gateway_config()
    folder = checkpoint.parent / "tiny-llama"
    shutil.copytree(checkpoint / "decoder", folder)
    try:
        bridge("words", BridgeManifest("tiny-llama", WIDTH, 4, branches))
        with pytest.raises(ModelUnavailable, match=r"kind is 'llama'.*blip-2, llava.*'prompt_embeds'"):
            load(
                model="tiny-llama", fusion="qformer", bridge="words", soft_tokens_as="image_embeds"
            ).gateway_config()
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "served", [{"fusion": "native"}, {"fusion": "qformer", "soft_tokens_as": "image_embeds"}]
)
def test_a_whole_blip2_without_a_template_gets_the_one_of_its_decoder(
    load: Load, checkpoint: Path, served: dict[str, str]
) -> None:
    folder = checkpoint.parent / "bare-blip2"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("decoder", "chat_template.*"))
    try:
        finish("bare-blip2", folder, lambda *_: None)
        template = folder / "decoder" / "chat_template.jinja"
        assert template.read_text() == CHAT_TEMPLATE
        engine = load(model="bare-blip2", **served).engine_config()
        assert engine.model_path == folder
        assert engine.chat_template == template
        assert engine.arguments()[engine.arguments().index("--chat-template") + 1] == str(template)
        assert (
            load(model="bare-blip2", fusion="qformer", soft_tokens_as="prompt_embeds")
            .engine_config()
            .chat_template
            is None
        )
    finally:
        shutil.rmtree(folder)
    own = load(model="tiny-blip2", **served).engine_config()
    assert (own.chat_template, "--chat-template" in own.arguments()) == (None, False)


def test_a_model_without_a_tokenizer_to_count_with_is_named(load: Load, checkpoint: Path) -> None:
    folder = checkpoint.parent / "mute"
    folder.mkdir()
    shutil.copy(checkpoint / "config.json", folder)
    try:
        with pytest.raises(ModelUnavailable, match=r"'mute' has no tokenizer\.json"):
            load(model="mute", fusion="native").gateway_config()
    finally:
        shutil.rmtree(folder)


def test_what_a_decoder_takes_can_be_set(load: Load) -> None:
    settings = load(
        model="tiny-blip2", fusion="native", native__pictures=3, native__videos=2, native__picture_tokens=77
    )
    native = settings.gateway_config().native
    assert native is not None
    assert dict(native.limits) == {MediaKind.IMAGE: 3, MediaKind.VIDEO: 2, MediaKind.AUDIO: 0}
    assert native.cost.tokens(1, 1, 1) == 77


def test_one_level_is_set_and_the_others_stay(load: Load) -> None:
    settings = load(
        model="tiny-blip2", fusion="native", views__high=9, native__picture_sides='{"low": 256}'
    ).gateway_config()
    assert settings.views == Levels(1, 1, 9)
    assert settings.native is not None
    assert settings.native.sides == Levels(256, 1024, 2048)


def test_a_decoder_that_does_not_look_is_refused_as_native(load: Load, checkpoint: Path) -> None:
    folder = checkpoint.parent / "tiny-llama"
    shutil.copytree(checkpoint / "decoder", folder)
    try:
        with pytest.raises(ModelUnavailable, match=r"not known to look .* kind is 'llama'.*picture_tokens"):
            load(model="tiny-llama", fusion="native").gateway_config()
        # A folder of the user's own that vLLM alone reads needs no preparing.
        assert "tiny-llama" not in load(model="tiny-llama", fusion="text").model_names()
    finally:
        shutil.rmtree(folder)


def test_a_context_longer_than_the_models_is_refused(load: Load) -> None:
    with pytest.raises(ModelUnavailable, match=r"context of 2048 tokens; chat\.context_tokens is 4096"):
        load(model="tiny-blip2", fusion="qformer", context_tokens=4096).gateway_config()


def test_an_unknown_strategy_is_refused(load: Load) -> None:
    with pytest.raises(ValueError, match="fusion"):
        load(fusion="telepathy")


def test_a_model_is_asked_for_tools_as_its_file_says(load: Load, tmp_path: Path) -> None:
    engine = load(model=SMOLLM2).chat.engine(tmp_path)
    assert engine.tool_parser == "hermes"
    assert engine.chat_template is not None
    assert engine.chat_template.read_text().count("<tool_call>") > 0
    flags = engine.arguments()
    assert flags[flags.index("--tool-call-parser") + 1] == "hermes"
    assert flags[flags.index("--tool-strict-level") + 1] == "parameter"
    assert load(model=SMOLLM2).chat.served(tmp_path).takes_tools


def test_of_other_models_nothing_is_believed(load: Load, tmp_path: Path) -> None:
    chat = load(model="someones-own").chat
    assert chat.engine(tmp_path).tool_parser is None
    assert chat.engine(tmp_path).chat_template is None
    assert "--enable-auto-tool-choice" not in chat.engine(tmp_path).arguments()
    assert not chat.served(tmp_path).takes_tools
    assert not load(model=SMOLLM2, tool_parser="").chat.served(tmp_path).takes_tools


def test_a_template_of_ones_own(load: Load, tmp_path: Path) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{{ messages }}")
    chat = load(model="someones-own", tool_parser="llama3_json", chat_template=str(template)).chat
    assert chat.engine(tmp_path).chat_template == template
    assert chat.served(tmp_path).takes_tools
    with pytest.raises(ModelUnavailable, match="chatml-tools"):
        load(model="someones-own", chat_template="nothing").chat.engine(tmp_path)
