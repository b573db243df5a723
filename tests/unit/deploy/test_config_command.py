"""`manymodal config show`: every setting with its value and where it came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster_settings import CLUSTER
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.profile_files import profile_names
from deploy.setting_origins import resolved_settings, unknown_variables
from deploy.settings import Settings, load_settings


def show(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", "show", *arguments])


def rows(*arguments: str) -> dict[str, tuple[object, str, str]]:
    """What is shown as JSON, by name."""
    shown = show("--json", *arguments)
    assert shown.exit_code == 0, shown.output
    return {
        row["name"]: (row["value"], row["origin"], row["source"])
        for row in json.loads(shown.stdout)["settings"]
    }


def test_each_value_says_where_it_came_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MANYMODAL_CHAT__CONTEXT_TOKENS", "2048")
    monkeypatch.setenv("MANYMODAL_PORT", "8111")
    monkeypatch.setenv("MANYMODAL_CHAT__VIEWS", '{"high": 3}')
    monkeypatch.setenv("manymodal_deployments__engine__resources__engine_pool", "0.5")
    shown = rows("--host", "127.0.0.2", "--port", "8222", "--data-dir", str(tmp_path))
    assert shown["host"] == ("127.0.0.2", "option", "--host")
    assert shown["port"] == (8222, "option", "--port")  # it wins over the environment, and that over the file
    assert shown["data_dir"] == (str(tmp_path), "option", "--data-dir")
    assert shown["chat.context_tokens"] == (2048, "environment", "MANYMODAL_CHAT__CONTEXT_TOKENS")
    assert shown["chat.views.high"] == (3, "environment", "MANYMODAL_CHAT__VIEWS")
    assert shown["chat.views.low"] == (1, "default", "")
    assert shown["deployments.engine.resources.engine_pool"] == (
        0.5,
        "environment",
        "manymodal_deployments__engine__resources__engine_pool",
    )
    assert shown["chat.model"] == ("smollm2-135m-instruct", "profile", "laptop.yaml")
    assert shown["log_level"] == ("INFO", "default", "")
    assert shown["profile"] == ("laptop", "default", "")


@pytest.mark.parametrize(("arguments", "origin"), [(("--profile", "gpu"), "option"), ((), "environment")])
def test_the_profile_itself_was_chosen_by_somebody(
    arguments: tuple[str, ...], origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANYMODAL_PROFILE", "gpu")
    shown = rows(*arguments)
    assert shown["profile"][:2] == ("gpu", origin)
    assert shown["chat.model"] == ("qwen3-vl-8b-instruct", "profile", "gpu.yaml")


@pytest.mark.parametrize("profile", profile_names())
def test_what_a_profile_says_is_what_is_shown_of_it(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    settings = load_settings({"profile": profile})
    found = {setting.name: setting for setting in resolved_settings(settings, {"profile": profile})}
    for name, setting in found.items():
        value: object = settings.model_dump(mode="json")
        for part in name.split("."):
            assert isinstance(value, dict)
            value = value[part]
        assert setting.value == value or "redis" in name
    assert {setting.source for setting in found.values() if setting.origin == "profile"} == {
        f"{profile}.yaml"
    }
    assert {setting.origin for setting in found.values()} >= {"option", "environment", "profile", "default"}


def test_secrets_are_masked_however_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MANYMODAL_STORAGE__S3__ENDPOINT_URL", "https://user:password-of-s3@s3.example:9000/")
    monkeypatch.setenv("MANYMODAL_STORAGE__S3__ACCESS_KEY_ID", "key")
    monkeypatch.setenv("MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY", "secret-access-key")
    for shown in (show("--profile", "cluster"), show("--profile", "cluster", "--json")):
        assert shown.exit_code == 0
        assert "https://********@s3.example:9000/" in shown.stdout
        for secret in ("password-of", "secret-access-key", CLUSTER["MANYMODAL_SECRET"]):
            assert secret not in shown.output
        assert "MANYMODAL_SECRET" in shown.stdout  # that it is set is said


def test_names_choose_what_is_shown_whole() -> None:
    shown = show("chat.views", "host")
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        "SETTING",
        "host",
        "chat.views.low",
        "chat.views.auto",
        "chat.views.high",
    ]
    assert lines[1] == ["host", "127.0.0.1", "laptop.yaml"]
    assert "deployments.perception.health_check_timeout_seconds" in show().stdout  # however narrow it is


def test_variables_without_effect_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_TYPO", "1")
    monkeypatch.setenv("MANYMODAL_CHATS__MODEL", "x")
    monkeypatch.setenv("MANYMODAL_API_KEY", "of the client")
    shown = show("host")
    assert shown.exit_code == 1
    assert "MANYMODAL_TYPO has no effect" in shown.stderr
    assert "MANYMODAL_CHATS__MODEL has no effect" in shown.stderr
    assert "API_KEY" not in shown.stderr
    assert json.loads(show("--json").stdout)["unknown_variables"] == [
        "MANYMODAL_CHATS__MODEL",
        "MANYMODAL_TYPO",
    ]


def test_every_setting_may_be_a_variable() -> None:
    names = {f"MANYMODAL_{name.upper()}": "x" for name in Settings.model_fields}
    assert unknown_variables(names | {"PATH": "/bin", "MANYMODALX": "1"}) == ()
    assert unknown_variables({"manymodal_hots": "x"}) == ("manymodal_hots",)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("chot",), 1, "There is no setting chot."),
        (("--profile", "huge"), 2, "Choose one of: cluster, gpu, laptop, laptop-hub"),
        (("--host", "::1"), 2, "Setting host: must be an IPv4 address"),
        (("--profile", "cluster"), 2, "Settings: several machines"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: tuple[str, ...], code: int, words: str) -> None:
    shown = show(*arguments)
    assert (shown.exit_code, shown.stdout) == (code, "")
    assert words in shown.stderr
    assert "Value error" not in shown.stderr
