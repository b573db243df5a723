"""The platform under each strategy of fusion, and vLLM's own server with the same model and flags.

``qformer`` and ``native`` are served with a BLIP-2 of random weights (``benchmarks.checkpoints``), ``native-llava``
with a LLaVA: vLLM's BLIP-2 takes one picture.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chat import PEER_MODULE, platform_command
from benchmarks.checkpoints import SMALL, write_blip2, write_llava
from benchmarks.servers import Server, module, server
from deploy.ports import free_port
from deploy.ray_environment import engine_environment
from deploy.settings import Settings, load_settings

__all__ = [
    "FRAMES",
    "Contender",
    "contenders",
    "model_folder",
    "paused_but",
    "picture",
    "prepared_models",
    "started",
]

FRAMES = 8
"""Of a video."""

_PICTURE = (480, 640)  # height and width of what is asked about
_WAKING_SECONDS = 2.0
_LONG = {"context_tokens": 2048, "extra_arguments": ("--block-size", "32")}


@dataclass(frozen=True, slots=True)
class Contender:
    """A platform to be measured: the settings of its ``chat`` beside the profile's, and the known media."""

    chat: dict[str, Any]
    media: tuple[str, ...]


def contenders(blip2: str, llava: str) -> dict[str, Contender]:
    """By name. Blocks of 32 tokens, so that short prompts are found in the prefix cache at all."""
    return {
        "text": Contender({"extra_arguments": ("--block-size", "32")}, ("photo", "video")),
        "qformer": Contender({"model": blip2, "fusion": "qformer", **_LONG}, ("photo", "video")),
        "qformer-looking": Contender(
            {"model": blip2, "fusion": "qformer", "read_pictures": False, **_LONG}, ()
        ),
        "native": Contender({"model": blip2, "fusion": "native", **_LONG}, ("photo",)),
        "native-llava": Contender(
            {
                "model": llava,
                "fusion": "native",
                "context_tokens": 4096,
                "extra_arguments": ("--block-size", "32"),
            },
            ("photo", "video"),
        ),
    }


def prepared_models(folder: Path) -> Path:
    """The prepared models and the two with random weights, in one folder."""
    folder.mkdir()
    for prepared in load_settings().models_dir.iterdir():
        if prepared.is_dir():
            (folder / prepared.name).symlink_to(prepared)
    write_blip2(folder / "bench-blip2", SMALL)
    write_llava(folder / "bench-llava")
    return folder


def model_folder(name: str, models: Path) -> Path:
    """Where the model of the contender ``name`` lies, tokenizer included."""
    chosen = contenders("bench-blip2", "bench-llava")[name].chat
    return models / str(chosen.get("model", load_settings().chat.model))


@contextlib.contextmanager
def started(name: str, folder: Path, models: Path, log: Path, *, peer: bool = False) -> Iterator[Server]:
    """The platform as the contender ``name``, or (``peer``) vLLM's own server with its model and flags.

    Both answer to the model ``default``.
    """
    settings = _settings(folder, models, name)
    base_url = f"http://127.0.0.1:{settings.port}"
    if peer:
        flags = [*settings.engine_config().arguments(), "--host", "127.0.0.1", "--port", str(settings.port)]
        command = module(PEER_MODULE, *flags, "--served-model-name", "default")
        environment = {**engine_environment(settings), "HF_HUB_OFFLINE": "1"}
        with server(command, base_url, "/health", log, environment) as running:
            yield running
        return
    with server(platform_command(settings), base_url, "/ready", log, _environment(settings)) as running:
        yield running


@contextlib.contextmanager
def paused_but(servers: dict[str, Server], but: str) -> Iterator[None]:
    """All servers but one stand still. That one, which may have stood still itself, first makes up for it."""
    with contextlib.ExitStack() as quiet:
        for name, running in servers.items():
            if name != but:
                quiet.enter_context(running.paused())
        time.sleep(_WAKING_SECONDS)
        yield


def picture(seed: int) -> bytes:
    """A JPEG of coloured waves, another for each seed, with nothing written in it."""
    from PIL import Image

    random = np.random.default_rng((7, seed % (1 << 32)))
    rows, columns = np.mgrid[0 : _PICTURE[0], 0 : _PICTURE[1]] / max(_PICTURE)
    waves = [
        np.sin(random.uniform(2, 20) * columns + random.uniform(2, 20) * rows + random.uniform(0, 6))
        for _ in range(3)
    ]
    noise = random.normal(0, 6, (*_PICTURE, 3))
    pixels = np.clip(127.5 + 110 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _settings(folder: Path, models: Path, name: str) -> Settings:
    chosen = contenders("bench-blip2", "bench-llava")[name]
    base = load_settings()
    return load_settings(
        {
            "port": free_port(),
            "data_dir": folder / f"data-{name}",
            "models_dir": models,
            "chat": {**base.chat.model_dump(), **chosen.chat},
            "video": {**base.video.model_dump(), "max_frames": FRAMES},
        }
    )


def _environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from the profile's, as a user would give them."""
    chat, prefix = settings.chat, "MANYMODAL_"
    arguments = ", ".join(f'"{one}"' for one in chat.extra_arguments)
    return {
        f"{prefix}MODELS_DIR": str(settings.models_dir),
        f"{prefix}CHAT__MODEL": chat.model,
        f"{prefix}CHAT__FUSION": chat.fusion,
        f"{prefix}CHAT__READ_PICTURES": str(chat.read_pictures),
        f"{prefix}CHAT__CONTEXT_TOKENS": str(chat.context_tokens),
        f"{prefix}CHAT__EXTRA_ARGUMENTS": f"[{arguments}]",
        f"{prefix}VIDEO__MAX_FRAMES": str(settings.video.max_frames),
    }
