"""One tiny BLIP-2 through the whole platform, as soft tokens through the bridge and looking itself."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tiny_blip2 import QUERIES, tiny_blip2

from cluster.conftest import RunningPlatform, client_of, running
from deploy.demo.samples import Samples

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]

_MODEL = "tiny-blip2"


@pytest.fixture(scope="module")
def models_with_blip2(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared models, and a BLIP-2 with random weights among them."""
    folder = tmp_path_factory.mktemp("models")
    for model in models_dir.iterdir():
        (folder / model.name).symlink_to(model)
    tiny_blip2(folder / _MODEL, "opt")
    return folder


def started(models: Path, folder: Path, fusion: str) -> Any:
    return running(
        folder,
        MODELS_DIR=str(models),
        CHAT__MODEL=_MODEL,
        CHAT__FUSION=fusion,
        CHAT__CONTEXT_TOKENS="1024",
        # Small blocks: prompts of a hundred tokens can then be found again in the engine's cache.
        CHAT__EXTRA_ARGUMENTS='["--block-size", "32"]',
    )


@pytest.fixture(scope="module")
def qformer(models_with_blip2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with started(models_with_blip2, tmp_path_factory.mktemp("qformer"), "qformer") as platform:
        yield platform


@pytest.fixture(scope="module")
def native(models_with_blip2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with started(models_with_blip2, tmp_path_factory.mktemp("native"), "native") as platform:
        yield platform


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
