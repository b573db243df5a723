"""One tiny BLIP-2 through two whole platforms: as soft tokens through the bridge, with everything on a real S3
server and a real Valkey, and looking itself.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis
from PIL import Image, ImageOps
from s3_server import S3Server
from tiny_blip2 import QUERIES, tiny_blip2
from valkey_server import ValkeyServer

from cluster import shared_storage
from cluster.conftest import RunningPlatform, client_of, running
from cluster.shared_storage import settings_of
from deploy.demo.samples import Samples
from storage.config import S3Config

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

_MODEL = "tiny-blip2"
_STOPPED_BY = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(scope="module")
def models_with_blip2(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared models, and a BLIP-2 with random weights among them."""
    folder = tmp_path_factory.mktemp("models")
    for model in models_dir.iterdir():
        (folder / model.name).symlink_to(model)
    tiny_blip2(folder / _MODEL, "opt")
    return folder


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> S3Config:
    return s3_server.config


@pytest.fixture(scope="module")
def settings(models_with_blip2: Path, bucket: S3Config, valkey: ValkeyServer) -> dict[str, dict[str, str]]:
    """Those of each strategy's platform."""
    both = {
        "MODELS_DIR": str(models_with_blip2),
        "CHAT__MODEL": _MODEL,
        "CHAT__CONTEXT_TOKENS": "1024",
        # Small blocks: prompts of a hundred tokens can then be found again in the engine's cache.
        "CHAT__EXTRA_ARGUMENTS": '["--block-size", "32"]',
    }
    return {
        "qformer": {**both, "CHAT__FUSION": "qformer", **settings_of(bucket, valkey)},
        "native": {**both, "CHAT__FUSION": "native"},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds each platform's data folder, of its name."""
    return tmp_path_factory.mktemp("fusion")


@pytest.fixture(scope="module")
def platforms(settings: dict[str, dict[str, str]], folder: Path) -> Iterator[dict[str, RunningPlatform]]:
    """Both, started and stopped side by side: each waits for much that takes no processor."""
    stacks = {name: ExitStack() for name in settings}
    with ThreadPoolExecutor(len(stacks)) as threads:
        try:
            starting = {
                name: threads.submit(stack.enter_context, running(folder / name, how, **settings[name]))
                for (name, stack), how in zip(stacks.items(), _STOPPED_BY, strict=True)
            }
            yield {name: started.result() for name, started in starting.items()}
        finally:
            for stopped in [threads.submit(stack.close) for stack in stacks.values()]:
                stopped.result()


@pytest.fixture(scope="module")
def qformer(platforms: dict[str, RunningPlatform]) -> RunningPlatform:
    return platforms["qformer"]


@pytest.fixture(scope="module")
def native(platforms: dict[str, RunningPlatform]) -> RunningPlatform:
    return platforms["native"]


def part(kind: str, path: Path, content_type: str, **more: str) -> dict[str, Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": kind, kind: {"url": f"data:{content_type};base64,{data}", **more}}


def ask(platform: RunningPlatform, *parts: dict[str, Any], text: str = "What is it?") -> Any:
    with client_of(platform) as client:
        return client.chat.completions.create(**question(*parts, text=text))


def streamed(platform: RunningPlatform, *parts: dict[str, Any]) -> str:
    with client_of(platform) as client:
        chunks = list(client.chat.completions.create(**question(*parts), stream=True))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def question(*parts: dict[str, Any], text: str = "What is it?") -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    return {"model": "default", "messages": messages, "max_tokens": 12, "temperature": 0}


def used(answer: Any) -> list[dict[str, Any]]:
    media: list[dict[str, Any]] = answer.model_extra["manymodal"]["media"]
    return media


def answered(answer: Any) -> str:
    assert answer.usage.completion_tokens > 0
    return str(answer.choices[0].message.content)


def test_pictures_are_soft_tokens_that_the_decoder_answers_to(
    qformer: RunningPlatform, samples: Samples
) -> None:
    ready = httpx.get(f"{qformer.base_url}/ready", timeout=10).json()
    assert ready["deployments"]["bridge"] == "ready"
    pictures = [part("image_url", path, "image/png") for path in samples.pictures.values()][:3]
    answers = [ask(qformer, picture) for picture in pictures]
    assert len({answered(answer) for answer in answers}) == len(pictures)  # it sees which picture it is
    (medium,) = used(answers[0])
    assert medium["cache"]["soft"] == "miss"
    assert medium["views"] == 1
    assert medium["prompt_tokens"] >= QUERIES
    again = ask(qformer, pictures[0])
    assert answered(again) == answered(answers[0])
    assert used(again)[0]["cache"] == {"soft": "hit", "ocr": "hit"}


def test_detail_high_takes_more_views(qformer: RunningPlatform, samples: Samples) -> None:
    path = next(iter(samples.pictures.values()))
    (low,), (high,) = (
        used(ask(qformer, part("image_url", path, "image/png", detail=detail))) for detail in ("low", "high")
    )
    assert low["views"] == 1
    assert 1 < high["views"] <= 5  # so many tiles as its shape gives
    assert high["prompt_tokens"] - low["prompt_tokens"] == (high["views"] - 1) * QUERIES


def test_a_video_is_frames_with_times_and_a_second_question_finds_its_prefix(
    qformer: RunningPlatform, samples: Samples
) -> None:
    film = part("video_url", samples.video, "video/mp4")
    first = ask(qformer, film)
    (medium,) = used(first)
    assert len(medium["frames"]) > 1
    times = [frame["time_seconds"] for frame in medium["frames"]]
    assert times == sorted(times)
    assert medium["prompt_tokens"] >= QUERIES * len(times)
    second = ask(qformer, film, text="And who is in it?")
    assert set(used(second)[0]["cache"].values()) == {"hit"}
    assert second.usage.prompt_tokens_details.cached_tokens >= 32


def test_soft_tokens_stream_and_what_is_not_ours_is_refused(
    qformer: RunningPlatform, samples: Samples
) -> None:
    picture = part("image_url", next(iter(samples.pictures.values())), "image/png")
    whole = ask(qformer, picture)
    assert streamed(qformer, picture) == answered(whole)
    with pytest.raises(openai.BadRequestError):
        ask(qformer, {"type": "prompt_embeds", "data": "AA=="})
    assert answered(ask(qformer, picture)) == answered(whole)


def test_what_lies_on_shared_storage_outlives_a_cache_a_store_that_hangs_and_the_machine(
    qformer: RunningPlatform,
    settings: dict[str, dict[str, str]],
    folder: Path,
    s3_server: S3Server,
    bucket: S3Config,
    valkey: ValkeyServer,
    samples: Samples,
    tmp_path: Path,
) -> None:
    photo = tmp_path / "mirrored.png"  # which no other test has shown to it
    ImageOps.mirror(Image.open(samples.pictures["cat"])).save(photo)
    with client_of(qformer) as client:
        file_id = shared_storage.everything_shares_one_upload(qformer, client, photo)
        assert shared_storage.keys(s3_server, bucket, "blobs")
        with redis.Redis.from_url(valkey.url) as looking:
            assert looking.dbsize() > 0
        shared_storage.redis_may_die(client, valkey, photo)
        shared_storage.the_store_may_hang(client, s3_server, photo)
    assert not (folder / "qformer" / "store").exists()

    # Another machine, an empty Redis, and nobody is asked to look at the photo again.
    valkey.kill()
    valkey.start()
    part = shared_storage.photo_part(photo)
    with shared_storage.another_machine(tmp_path / "second", settings["qformer"]) as client:
        assert set(shared_storage.ask(client, part)["cache"].values()) == {"hit"}
        assert client.files.retrieve(file_id).filename == photo.name
        assert client.files.content(file_id).read() == photo.read_bytes()
        link = httpx.post(f"{client.base_url}files/{file_id}/link", json={}).json()["url"]
        assert httpx.get(link).content == photo.read_bytes(), "the store itself serves the link"
        for file in [*client.files.list(), *client.files.list(purpose="inline")]:
            assert client.files.delete(file.id).deleted
    assert shared_storage.keys(s3_server, bucket, "files") == []
    shared_storage.verify_is_clean(tmp_path / "second", settings["qformer"])
    shared_storage.nothing_is_left(s3_server, bucket, tmp_path)


def test_the_same_model_looks_itself(native: RunningPlatform, samples: Samples) -> None:
    pictures = [part("image_url", path, "image/png") for path in samples.pictures.values()][:3]
    answers = [ask(native, picture) for picture in pictures]
    assert len({answered(answer) for answer in answers}) == len(pictures)
    assert used(answers[0])[0]["cache"] == {}
    again = ask(native, pictures[0])
    assert answered(again) == answered(answers[0])
    assert streamed(native, pictures[0]) == answered(again)
    with pytest.raises(openai.BadRequestError, match="at most 1"):
        ask(native, *pictures[:2])


def test_a_film_is_shown_in_as_many_pictures_as_the_model_takes(
    native: RunningPlatform, samples: Samples
) -> None:
    answer = ask(native, part("video_url", samples.video, "video/mp4"))
    (medium,) = used(answer)
    assert answered(answer)
    assert len(medium["frames"]) == 1  # vLLM's BLIP-2 takes one picture in a prompt
    assert medium["cache"]["frames"] == "miss"
