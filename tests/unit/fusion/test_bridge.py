"""The bridge's deployment: transformers' numbers, batches that change nothing, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bridges import SPEECH, TEXT, VISION, bridge_manifest, random_network, write_random_bridge
from tiny_blip2 import QUERIES, WIDTH, tiny_blip2

from encoders.config import BatchLimits
from encoders.errors import EncoderOverloaded
from encoders.types import AudioTokens, ImageTokens, Vector, VideoTokens
from fusion.bridge import BranchTokens, load_bridge
from fusion.bridge_folder import MANIFEST_NAME, WEIGHTS_NAME, bridge_revision, write_bridge
from fusion.config import BridgeConfig
from fusion.errors import BridgeMismatch, BridgeUnavailable, ModalityNotBridged
from serving.deployments.bridge import BridgeDeployment

MANIFEST = bridge_manifest({"vision": VISION, "speech": SPEECH}, speech_piece_seconds=1.0)


def draw(*shape: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def picture(views: int = 1, seed: int = 0, width: int = 48) -> ImageTokens:
    return ImageTokens(draw(views, 9, width, seed=seed), ((0, 0, 1, 1),) * (views - 1))


def sound(tokens: int, seed: int = 0) -> AudioTokens:
    return AudioTokens(draw(tokens, 40, seed=seed), draw(40), 0.1)


@torch.no_grad()
def expected(branch: str, tokens: Vector) -> Vector:
    return np.asarray(random_network(MANIFEST)({branch: torch.from_numpy(tokens.copy())}).numpy())


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[BridgeDeployment]:
    write_random_bridge(tmp_path, MANIFEST)
    deployment = BridgeDeployment(BridgeConfig(tmp_path, "tiny-decoder"))
    yield deployment
    await deployment.aclose()


async def test_views_of_a_picture(bridge: BridgeDeployment):
    given = picture(views=3)
    soft = await bridge.project_image(given)
    assert (soft.decoder, soft.vectors.shape, soft.vectors.dtype) == ("tiny-decoder", (3, 4, 32), np.float32)
    assert soft.times_seconds == soft.reasons == ()
    np.testing.assert_allclose(soft.vectors, expected("vision", given.tokens), atol=1e-5)
    assert await bridge.ready()
    await bridge.check_health()


async def test_frames_of_a_video_keep_their_order_and_facts(bridge: BridgeDeployment):
    times = tuple(index * 0.5 for index in range(21))
    given = VideoTokens(draw(21, 9, 48), times, ("uniform",) * 21, 10.5, 3, (0.1,), (4.0,))
    soft = await bridge.project_video(given)
    np.testing.assert_allclose(soft.vectors, expected("vision", given.tokens), atol=1e-5)
    assert (soft.times_seconds, soft.reasons, soft.duration_seconds) == (times, ("uniform",) * 21, 10.5)
    assert (soft.near_duplicates, soft.repeat_times_seconds, soft.scene_changes_seconds) == (
        3,
        (0.1,),
        (4.0,),
    )


@pytest.mark.parametrize(("tokens", "starts"), [(25, (0.0, 1.0, 2.0)), (10, (0.0,)), (3, (0.0,)), (0, ())])
async def test_sound_is_cut_into_stretches(bridge: BridgeDeployment, tokens: int, starts: tuple[float, ...]):
    given = sound(tokens)
    soft = await bridge.project_audio(given)
    assert soft.times_seconds == starts
    assert soft.duration_seconds == pytest.approx(tokens * 0.1)
    assert soft.vectors.shape == (len(starts), 4, 32)
    for index, vectors in enumerate(soft.vectors):  # the last, shorter one as if it had never been filled up
        stretch = given.tokens[index * 10 : (index + 1) * 10]
        np.testing.assert_allclose(vectors, expected("speech", stretch[None])[0], atol=1e-5)


async def test_many_at_once_are_answered_as_each_alone(bridge: BridgeDeployment):
    pictures = [picture(views=1 + seed % 3, seed=seed) for seed in range(12)]
    sounds = [sound(7 + seed, seed=seed) for seed in range(4)]
    together = await asyncio.gather(
        *(bridge.project_image(one) for one in pictures), *(bridge.project_audio(one) for one in sounds)
    )
    for one, soft in zip(pictures, together, strict=False):
        np.testing.assert_allclose(soft.vectors, expected("vision", one.tokens), atol=1e-5)
    for one, soft in zip(sounds, together[12:], strict=True):
        alone = await bridge.project_audio(one)
        np.testing.assert_allclose(soft.vectors, alone.vectors, atol=1e-5)


BAD: dict[str, Vector] = {
    "another width": draw(1, 9, 64),
    "no tokens": draw(1, 0, 48),
    "no views": draw(0, 9, 48),
    "one dimension less": draw(9, 48),
    "not a number": np.full((1, 9, 48), np.nan, np.float32),
    "infinite": np.full((1, 9, 48), np.inf, np.float32),
}


@pytest.mark.parametrize("tokens", BAD.values(), ids=BAD)
async def test_tokens_that_are_not_the_encoders_are_refused(bridge: BridgeDeployment, tokens: Vector):
    good = picture(seed=5)
    answers: list[Any] = await asyncio.gather(
        bridge.project_image(ImageTokens(tokens, ())), bridge.project_image(good), return_exceptions=True
    )
    assert isinstance(answers[0], BridgeMismatch)
    np.testing.assert_allclose(answers[1].vectors, expected("vision", good.tokens), atol=1e-5)
    await bridge.check_health()


async def test_a_bridge_without_ears_says_so(tmp_path: Path):
    write_random_bridge(tmp_path, bridge_manifest({"vision": VISION}))
    deployment = BridgeDeployment(BridgeConfig(tmp_path, "tiny-decoder"))
    with pytest.raises(ModalityNotBridged, match="cannot listen"):
        await deployment.project_audio(sound(5))
    await deployment.aclose()


def test_a_loaded_bridge_reads_tokens_of_text_padded_or_not(tmp_path: Path):
    manifest = bridge_manifest(
        {"vision": VISION, "text": TEXT}, attention={"inner_width": 16, "heads": 2, "gate_width": 8}
    )
    write_random_bridge(tmp_path, manifest)
    bridge = load_bridge(BridgeConfig(tmp_path, "tiny-decoder"))
    network, sentences = random_network(manifest), draw(2, 7, 24)
    padded = BranchTokens("text", sentences, (7, 3))
    (soft,) = bridge.run(bridge.prepare([padded]))
    for row, length in enumerate((7, 3)):
        with torch.no_grad():
            alone = network({"text": torch.from_numpy(sentences[row : row + 1, :length].copy())})
        np.testing.assert_allclose(soft[row], alone[0].numpy(), atol=1e-5)


async def test_more_than_may_wait_is_refused(tmp_path: Path):
    write_random_bridge(tmp_path, MANIFEST)
    config = BridgeConfig(tmp_path, "tiny-decoder", batches=BatchLimits(max_items=1, max_queued=2))
    deployment = BridgeDeployment(config)
    answers = await asyncio.gather(
        *(deployment.project_image(picture(seed=seed)) for seed in range(9)), return_exceptions=True
    )
    assert any(isinstance(answer, EncoderOverloaded) for answer in answers)
    assert (await deployment.project_image(picture())).vectors.shape == (1, 4, 32)
    await deployment.aclose()


def test_another_decoder_or_changed_weights_do_not_start(tmp_path: Path):
    write_random_bridge(tmp_path, MANIFEST)
    config = BridgeConfig(tmp_path, "tiny-decoder", revision=bridge_revision(tmp_path))
    with pytest.raises(BridgeUnavailable, match="made for the decoder 'tiny-decoder'"):
        BridgeDeployment(replace(config, decoder="other"))
    write_random_bridge(tmp_path, MANIFEST, seed=1)
    with pytest.raises(BridgeUnavailable, match="have changed"):
        BridgeDeployment(config)


@pytest.mark.parametrize("which", ["cut", "swapped", "gone", "another shape"])
def test_weights_that_are_not_the_described_ones_do_not_start(tmp_path: Path, which: str):
    write_random_bridge(tmp_path / "a", MANIFEST)
    write_random_bridge(tmp_path / "b", MANIFEST, seed=1)
    weights = tmp_path / "a" / WEIGHTS_NAME
    if which == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif which == "swapped":
        weights.write_bytes((tmp_path / "b" / WEIGHTS_NAME).read_bytes())
    elif which == "gone":
        weights.unlink()
    else:
        write_bridge(
            tmp_path / "a", MANIFEST, random_network(bridge_manifest({"vision": VISION})).state_dict()
        )
    with pytest.raises(BridgeUnavailable) as told:
        BridgeDeployment(BridgeConfig(tmp_path / "a", "tiny-decoder"))
    assert str(tmp_path) not in told.value.message


def test_settings_of_no_possible_network_do_not_start(tmp_path: Path):
    write_random_bridge(tmp_path, MANIFEST)
    facts = json.loads((tmp_path / MANIFEST_NAME).read_text())
    facts["qformer"]["num_attention_heads"] = 5  # does not divide 32
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(facts))
    with pytest.raises(BridgeUnavailable, match="make no sense"):
        BridgeDeployment(BridgeConfig(tmp_path, "tiny-decoder"))


async def test_a_blip2_checkpoint_bridges_as_transformers_does(tmp_path: Path):
    from transformers import Blip2ForConditionalGeneration

    folder = tiny_blip2(tmp_path / "blip", "llama")
    theirs = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    deployment = BridgeDeployment(BridgeConfig(folder, "blip"))
    seen = draw(2, 17, 64)
    with torch.no_grad():
        states = torch.from_numpy(seen)
        answers = theirs.qformer(
            query_embeds=theirs.query_tokens.expand(2, -1, -1), encoder_hidden_states=states
        ).last_hidden_state
        wanted = theirs.language_projection(answers).numpy()
    soft = await deployment.project_image(ImageTokens(seen, ((0, 0, 1, 1),)))
    assert soft.vectors.shape == (2, QUERIES, WIDTH)
    np.testing.assert_allclose(soft.vectors, wanted, atol=1e-5)
    await deployment.aclose()
