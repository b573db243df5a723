"""Settings: profile, environment, options; what is refused; the configs they become."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.ray_environment import engine_environment, ray_environment
from deploy.settings import load_settings, profile_names


def test_the_default_profile_is_laptop_and_serves_loopback() -> None:
    settings = load_settings()
    assert settings.profile == "laptop"
    assert settings.host == "127.0.0.1"
    assert settings.chat.model == "smollm2-135m-instruct"


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_gives_every_config(profile: str, tmp_path: Path) -> None:
    settings = load_settings({"profile": profile, "data_dir": tmp_path})
    assert settings.gateway_config().chat_model.name == settings.chat.model
    assert settings.encoder_config().vision_model == settings.encoders.vision
    assert settings.engine_config().model_path == settings.models_dir / settings.chat.model
    assert settings.search_config().root.is_relative_to(tmp_path)
    assert settings.storage_config().root.is_relative_to(tmp_path)
    assert set(settings.deployments) == {"gateway", "perception", "search", "engine"}


def test_decoding_limits_reach_decoder_and_cache_keys_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MANYMODAL_DECODING__MAX_PIXELS", "1000000")
    settings = load_settings({"data_dir": tmp_path})
    assert settings.encoder_config().limits.max_pixels == 1_000_000
    assert settings.gateway_config().decode_limits == settings.encoder_config().limits


def test_options_win_over_the_environment_and_both_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_PORT", "8111")
    monkeypatch.setenv("MANYMODAL_CHAT__CONTEXT_TOKENS", "2048")
    assert load_settings().port == 8111
    assert load_settings({"port": 8222}).port == 8222
    chat = load_settings().chat
    assert (chat.context_tokens, chat.model) == (2048, "smollm2-135m-instruct")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("profile", "huge", "Choose one of: .*laptop"),
        ("host", "0.0.0.0", "no API keys"),  # noqa: S104 -- refused, that is the point
        ("host", "::1", "no API keys"),
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
