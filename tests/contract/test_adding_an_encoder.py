"""docs/adding-an-encoder.md, followed literally: its file is put among the models, its commands are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "adding-an-encoder.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PREPARE, TESTS, SERVE = (body for language, _, body in BLOCKS if language == "sh")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> dict[str, str]:
    """The environment of a reader who has put the page's file among a copy of the encoders; models are prepared."""
    root = tmp_path_factory.mktemp("reader")
    shutil.copytree(REPOSITORY / "encoders", root / "encoders", ignore=shutil.ignore_patterns("__pycache__"))
    ((path, body),) = [(title, body) for _, title, body in BLOCKS if title]
    assert not (root / path).exists()
    (root / path).write_text(body, "utf-8")
    folder = root / "models"
    folder.mkdir()
    for prepared in models_dir.iterdir():
        (folder / prepared.name).symlink_to(prepared)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),  # before the repository, in which everything else is found
        "MANYMODAL_MODELS_DIR": str(folder),
        "MANYMODAL_DATA_DIR": str(root / "data"),
    }


def run(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; it must end well."""
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.models
def test_the_page_is_followed_from_its_file_to_a_model_that_passes_every_test(reader: dict[str, str]) -> None:
    folder = Path(reader["MANYMODAL_MODELS_DIR"]) / "colour-names"
    assert not folder.exists()
    run(["bash", "-euc", PREPARE], reader)
    assert (folder / "manymodal.json").exists()

    ((used,), (shown,)) = (
        [body for language, title, body in BLOCKS if language == wanted and not title]
        for wanted in ("python", "text")
    )
    assert run([sys.executable, "-P", "-c", used], reader) == shown

    passed = run(["bash", "-euc", TESTS], reader)
    assert re.search(r"^\d+ passed", passed, re.MULTILINE), passed
    assert "skipped" not in passed, passed


@pytest.mark.models
def test_the_new_model_may_be_served_in_place_of_the_default(reader: dict[str, str]) -> None:
    """The page's command starts everything; here the platform is only asked whether it takes the model."""
    setting, *command = SERVE.split()
    assert command == ["manymodal", "serve"]
    name, _, value = setting.partition("=")
    source = (
        "from deploy.given_settings import given_settings\n"
        "print(given_settings().gateway_config().vision_model.name)"
    )
    assert run([sys.executable, "-P", "-c", source], {**reader, name: value}) == f"{value}\n"
