"""Settings: profile, environment, options; what is refused; the configs they become."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_settings import CLUSTER

from deploy.errors import SpacesDiffer
from deploy.pool_settings import POOLS
from deploy.profile_files import profile_names
from deploy.ray_environment import engine_environment, ray_environment
from deploy.settings import Settings, load_settings
from encoders.config import TEXT_BATCHES, VISION_BATCHES
from encoders.errors import ModelUnavailable
from encoders.registry import find
from encoders.types import Quality
from fusion.errors import FusionError
from fusion.vector_gate import MODALITIES
from search.types import IndexSpec


def make_decoder(folder: Path) -> None:
    """What settings look at of a decoder's folder: the family, and that there is a tokenizer."""
    family = "qwen3_vl" if "qwen" in folder.name else "idefics3"
    processing = {"max_image_size": {"longest_edge": 512}, "size": {"longest_edge": 2048}, "patch_size": 16}
    folder.mkdir(parents=True)
    text = {"max_position_embeddings": 262_144 if "qwen" in folder.name else 8192}
    facts = {
        "model_type": family,
        "text_config": text,
        "vision_config": {"patch_size": 16, "image_size": 512},
    }
    (folder / "config.json").write_text(json.dumps(facts), "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(processing), "utf-8")
    (folder / "tokenizer.json").write_text("{}", "utf-8")


def test_the_default_profile_is_laptop_and_serves_loopback() -> None:
    settings = load_settings()
    assert settings.profile == "laptop"
    assert settings.host == "127.0.0.1"
    assert settings.chat.model == "smollm2-135m-instruct"


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_gives_every_config(
    profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if profile == "cluster":
        for name, value in CLUSTER.items():
            monkeypatch.setenv(name, value)
    settings = load_settings({"profile": profile, "data_dir": tmp_path, "models_dir": tmp_path / "models"})
    make_decoder(settings.models_dir / settings.chat.model)
    gateway = settings.gateway_config()
    assert gateway.chat_model.name == settings.chat.model
    assert gateway.chat_model.context_tokens == settings.chat.context_tokens
    assert settings.encoder_config().vision_model == settings.encoders.vision
    assert settings.engine_config().model_path == settings.models_dir / settings.chat.model
    assert settings.search_config().root.is_relative_to(tmp_path)
    assert (settings.search_config().s3 is not None) == (profile == "cluster")
    text = gateway.text_model
    assert settings.search_config().model == f"{text.name}@{text.revision}"
    assert settings.storage_config().root.is_relative_to(tmp_path)
    encoders = set(POOLS) if profile == "cluster" else {"perception"}
    assert set(settings.deployments) == {"gateway", "search", "engine", "bridge"} | encoders
    for name in settings.model_names():
        assert find(name, settings.models_dir).name == name  # nothing that only a hub knows by another name


def test_decoding_limits_reach_decoder_and_cache_keys_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MANYMODAL_DECODING__MAX_PIXELS", "1000000")
    settings = load_settings({"data_dir": tmp_path})
    assert settings.encoder_config().limits.max_pixels == 1_000_000
    assert settings.gateway_config().decode_limits == settings.encoder_config().limits


def test_one_batch_may_use_all_the_room_that_batches_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MANYMODAL_BATCHES__REQUESTS_AT_ONCE", "64")
    batches = load_settings({"data_dir": tmp_path}).gateway_config().batches
    assert (batches.requests_at_once, batches.workers, batches.max_unfinished) == (64, 64, 100)


def test_options_win_over_the_environment_and_both_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_PORT", "8111")
    monkeypatch.setenv("MANYMODAL_CHAT__CONTEXT_TOKENS", "2048")
    assert load_settings().port == 8111
    assert load_settings({"port": 8222}).port == 8222
    chat = load_settings().chat
    assert (chat.context_tokens, chat.model) == (2048, "smollm2-135m-instruct")


def test_media_come_from_everywhere_or_from_named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().gateway_config().media_hosts is None
    monkeypatch.setenv("MANYMODAL_MEDIA_HOSTS", '["media.example", "*.cdn.example"]')
    assert load_settings().gateway_config().media_hosts == ("media.example", "*.cdn.example")
    monkeypatch.setenv("MANYMODAL_MEDIA_HOSTS", "[]")
    assert load_settings().gateway_config().media_hosts == ()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("profile", "huge", "Choose one of: .*laptop"),
        ("host", "::1", "IPv4"),
        ("host", "localhost", "IPv4"),
        ("access", {"mode": "shut"}, "open"),
        *(
            ("media_hosts", [host], "without scheme")
            for host in ("https://a.org", "a.org:80", "*", "a.*.org", "")
        ),
        ("port", 0, "greater than 0"),
        ("colour", "red", "Extra inputs"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_settings({name: value})


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "data"})
    first = settings.gateway_config().cache_secret
    assert len(first) == 32
    assert settings.gateway_config().cache_secret == first
    assert stat.S_IMODE((tmp_path / "data" / "secret").stat().st_mode) == 0o600
    assert repr(first) not in repr(settings.gateway_config())
    (tmp_path / "data" / "secret").write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        settings.gateway_config()


def test_the_engine_uses_every_core_and_obeys_vllms_own_variables() -> None:
    settings = load_settings()
    assert int(engine_environment(settings, {})["OMP_NUM_THREADS"]) >= 1
    assert engine_environment(settings, {"OMP_NUM_THREADS": "1"}) == engine_environment(settings, {})
    assert engine_environment(settings, {"VLLM_CPU_KVCACHE_SPACE": "7"})["VLLM_CPU_KVCACHE_SPACE"] == "7"


def test_the_gateway_alone_gets_the_port_and_ray_asks_for_a_token() -> None:
    environment = ray_environment(load_settings({"port": 8123}))
    first, end = (int(environment[f"RAY_SERVE_DIRECT_INGRESS_{edge}_HTTP_PORT"]) for edge in ("MIN", "MAX"))
    assert list(range(first, end)) == [8123]
    assert environment["RAY_AUTH_MODE"] == "token"


def test_storage_is_a_local_folder_unless_a_bucket_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = load_settings({"data_dir": tmp_path}).storage_config()
    assert (config.s3, config.redis_url, config.cold_root) == (None, None, None)
    assert config.root == tmp_path / "store"
    assert dict(config.ttl_seconds) == {"image": 3600, "video": 7200, "audio": 3600, "text": 1800}
    for name, value in {
        "S3__BUCKET": "media",
        "S3__ENDPOINT_URL": "http://127.0.0.1:9000",
        "S3__ACCESS_KEY_ID": "key",
        "S3__SECRET_ACCESS_KEY": "hush",
        "REDIS_URL": "redis://:hush@127.0.0.1:6379/0",
        "TTL_SECONDS": '{"image": 60}',
        "COLD_FOLDER": str(tmp_path / "cold"),
        "COLD_AFTER_DAYS": "30",
    }.items():
        monkeypatch.setenv(f"MANYMODAL_STORAGE__{name}", value)
    monkeypatch.setenv("MANYMODAL_SEARCH__STORAGE", "int8")
    monkeypatch.setenv("MANYMODAL_SEARCH__FLAT_ROWS", "5000")
    settings = load_settings({"data_dir": tmp_path})
    config = settings.storage_config()
    assert settings.search_config().index == settings.gateway_config().index == IndexSpec(storage="int8")
    assert (settings.search_config().flat_rows, settings.search_config().threads) == (5000, 2)
    assert config.s3 is not None
    assert (config.s3.bucket, config.s3.endpoint_url) == ("media", "http://127.0.0.1:9000")
    assert config.s3.secret_access_key == "hush"
    assert settings.search_config().s3 == config.s3  # collections lie where media do
    assert config.redis_url == "redis://:hush@127.0.0.1:6379/0"
    assert dict(config.ttl_seconds) == {"image": 60, "video": 7200, "audio": 3600, "text": 1800}
    assert (config.cold_root, config.tiers.cold_after_days) == (tmp_path / "cold", 30)
    assert "hush" not in repr(settings)
    assert "hush" not in repr(config)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ({"s3": {"bucket": "ab"}}, "at least 3"),
        ({"s3": {"bucket": "media", "access_key_id": "key"}}, "give both"),
        ({"s3": {"bucket": "media", "prefix": "../x/"}}, "pattern"),
        ({"redis_url": "127.0.0.1:6379"}, "begins with redis://"),
        ({"redis_url": "redis://:hush@localhost:many/0"}, "Port could not be cast"),
        ({"ttl_seconds": {"image": 0}}, "greater than 0"),
        ({"ttl_seconds": {"smell": 5}}, "smell"),
        ({"grace_seconds": 5}, "3600"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_storage_settings_that_cannot_be_are_refused(storage: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_settings({"storage": storage})


def test_machines_that_share_a_store_are_given_one_secret(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "data", "secret": "0f" * 32})
    assert settings.gateway_config().cache_secret == b"\x0f" * 32
    assert not (tmp_path / "data" / "secret").exists()
    assert "0f0f" not in repr(settings)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        load_settings({"secret": "short"})


def test_how_videos_and_pictures_are_looked_at_reaches_gateway_and_encoders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MANYMODAL_VIDEO__METHOD", "scene")
    monkeypatch.setenv("MANYMODAL_VIDEO__DROP_NEAR_DUPLICATES", "false")
    monkeypatch.setenv("MANYMODAL_ENCODERS__QUALITY", "best")
    monkeypatch.setenv("MANYMODAL_ENCODERS__TEXT_BATCHES__MAX_ITEMS", "8")
    settings = load_settings({"data_dir": tmp_path})
    sampling = settings.gateway_config().sampling
    assert (sampling.method, sampling.drop_near_duplicates, sampling.max_frames) == ("scene", False, 16)
    assert settings.gateway_config().quality is Quality.BEST
    assert settings.encoder_config().text_batches == replace(TEXT_BATCHES, max_items=8)
    assert settings.encoder_config().vision_batches == VISION_BATCHES


def test_further_text_models_take_turns_in_what_they_are_given(tmp_path: Path) -> None:
    def load(*names: str, **more: object) -> Settings:
        return load_settings({"data_dir": tmp_path, "encoders": {"text_variants": names, **more}})

    settings = load("bge-small-en-v1.5", "clip-vit-base-patch32", "all-minilm-l6-v2")
    gateway, encoders = settings.gateway_config(), settings.encoder_config()
    # The text model itself is always there.
    assert [spec.name for spec in gateway.text_variants] == ["bge-small-en-v1.5", "clip-vit-base-patch32"]
    assert encoders.text_variants == ("bge-small-en-v1.5", "clip-vit-base-patch32")
    assert set(encoders.text_variants) <= set(encoders.revisions) & set(settings.model_names())
    with pytest.raises(ModelUnavailable, match=r"cannot be encoders\.text_variants"):
        load("rapidocr").gateway_config()
    with pytest.raises(ModelUnavailable, match=r"takes 677 MiB.*lets it have 100"):
        load("bge-small-en-v1.5", variant_memory_bytes=100 << 20).gateway_config()


def test_texts_and_pictures_must_share_a_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MANYMODAL_ENCODERS__VISION", "clip-vit-base-patch32")
    with pytest.raises(SpacesDiffer, match=r"'clip-vit-base-patch32' places .* 'all-minilm-l6-v2'"):
        load_settings({"data_dir": tmp_path}).gateway_config()
    monkeypatch.setenv("MANYMODAL_ENCODERS__TEXT", "clip-vit-base-patch32")
    settings = load_settings({"data_dir": tmp_path})
    assert settings.gateway_config().vision_model == settings.gateway_config().text_model
    assert settings.search_config().dimensions == settings.gateway_config().text_model.dimensions == 512
    assert settings.model_names().count("clip-vit-base-patch32") == 1


@pytest.mark.parametrize(
    ("field", "model"),
    [
        ("vision", "rapidocr"),
        ("speech", "all-minilm-l6-v2"),
        ("text", "vit-base-patch16-224"),
        ("text", "whisper-base"),
        ("ocr", "open-nsfw"),
    ],
)
def test_models_do_what_they_are_for(
    field: str, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"MANYMODAL_ENCODERS__{field.upper()}", model)
    settings = load_settings({"data_dir": tmp_path})
    for config in (settings.gateway_config, settings.encoder_config):
        with pytest.raises(ModelUnavailable, match=f"'{model}' is for .* encoders.{field}"):
            config()


def test_encoders_are_told_the_revisions_that_results_are_kept_under(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path})
    gateway, encoders = settings.gateway_config(), settings.encoder_config()
    served = [gateway.vision_model, gateway.speech_model, gateway.text_model, gateway.ocr_model]
    served += filter(None, (gateway.moderation_text, gateway.moderation_image, gateway.voice_model))
    assert len(served) == 7
    assert encoders.revisions == {spec.name: spec.revision for spec in served}


def test_moderation_is_set_by_model_and_by_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MANYMODAL_ENCODERS__MODERATION_IMAGE", "")
    monkeypatch.setenv("MANYMODAL_MODERATION__PLACES", '["chat_input", "search"]')
    monkeypatch.setenv("MANYMODAL_MODERATION__THRESHOLDS", '{"hate": 0.25}')
    settings = load_settings({"data_dir": tmp_path})
    config = settings.gateway_config()
    assert config.moderation_text is not None
    assert config.moderation_image is None
    assert settings.encoder_config().moderation_image_model is None
    assert "open-nsfw" not in settings.model_names()
    policy = config.tenant_defaults.moderation
    assert policy.places == {"chat_input", "search"}
    assert policy.category_of({"hate": 0.25, "harassment": 0.49, "toxic": 0.99}) == "hate"
    assert policy.category_of({"hate": 0.2, "harassment": 0.49}) is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODERATION__THRESHOLDS", '{"toxic": 0.5}', "no category 'toxic'"),
        ("MODERATION__THRESHOLD", "1.5", "less than or equal to 1"),
        ("MODERATION__PLACES", '["everywhere"]', "chat_input"),
    ],
)
def test_policies_that_mean_nothing_are_refused(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MANYMODAL_{variable}", value)
    with pytest.raises(ValueError, match=said):
        load_settings()


def test_a_model_that_judges_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MANYMODAL_ENCODERS__MODERATION_TEXT", "open-nsfw")
    with pytest.raises(ModelUnavailable, match=r"cannot be encoders\.moderation_text"):
        load_settings({"data_dir": tmp_path}).gateway_config()


@pytest.mark.parametrize(
    "wrong", [{"max_items": 0}, {"max_queued": 0}, {"max_cost": -1}, {"max_wait_seconds": -1}]
)
def test_batches_that_could_never_run_are_refused_before_anything_starts(
    wrong: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ((name, value),) = wrong.items()
    monkeypatch.setenv(f"MANYMODAL_ENCODERS__TEXT_BATCHES__{name.upper()}", str(value))
    with pytest.raises(ValueError, match="must"):
        load_settings()


def test_a_gate_that_does_not_fit_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    file = tmp_path / "gate.safetensors"
    monkeypatch.setenv("MANYMODAL_SEARCH__GATE_FILE", str(file))
    settings = load_settings({"data_dir": tmp_path})
    with pytest.raises(FusionError, match="cannot be read"):
        settings.gateway_config()
    weights = {"score.weight": np.zeros((4, 2), np.float32), "score.bias": np.zeros(4, np.float32)}
    for modality in MODALITIES:
        weights[f"project.{modality}.weight"] = np.zeros((2, 384), np.float32)
        weights[f"project.{modality}.bias"] = np.zeros(2, np.float32)
    save_file(weights, file)
    assert settings.gateway_config().gate_file == file
    save_file({**weights, "score.bias": np.zeros(3, np.float32)}, file)
    with pytest.raises(FusionError, match=r"score\.bias"):
        settings.gateway_config()
