"""Bridges on disk: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bridges import SPEECH, VISION, bridge_manifest, random_network, write_random_bridge
from tiny_blip2 import QUERIES, WIDTH, tiny_blip2

from encoders import registry
from encoders.types import ModelSpec
from fusion.bridge_folder import (
    MANIFEST_NAME,
    WEIGHTS_NAME,
    Branch,
    bridge_revision,
    check_fit,
    embedding_width,
    read_manifest,
    write_bridge,
)
from fusion.errors import BridgeUnavailable


def spec(name: str, revision: str) -> ModelSpec:
    return ModelSpec(name, "vision", ("image",), 4, "MIT", revision, "1")


def decoder_folder(folder: Path, **facts: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("branches", [{"vision": VISION}, {"vision": VISION, "speech": SPEECH}])
def test_what_is_written_comes_back(tmp_path: Path, branches: dict[str, Branch]):
    from safetensors.torch import load_file

    manifest = bridge_manifest(branches, speech_piece_seconds=2.5)
    network = random_network(manifest)
    written = write_bridge(tmp_path / "new" / "bridge", manifest, network.state_dict())
    folder = tmp_path / "new" / "bridge"
    assert read_manifest(folder) == written == replace(manifest, weights_sha256=written.weights_sha256)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST_NAME, WEIGHTS_NAME]
    stored = load_file(folder / WEIGHTS_NAME)
    assert stored.keys() == network.state_dict().keys()
    assert all((stored[key] == value).all() for key, value in network.state_dict().items())


def test_the_revision_is_of_weights_and_description(tmp_path: Path):
    manifest = bridge_manifest({"vision": VISION})
    revisions = set()
    for seed, changed in (
        (0, manifest),
        (1, manifest),
        (0, replace(manifest, decoder="another")),
        (0, replace(manifest, branches={"vision": replace(VISION, revision="2")})),
    ):
        write_random_bridge(tmp_path, changed, seed)
        revisions.add(bridge_revision(tmp_path))
    assert len(revisions) == 4
    write_random_bridge(tmp_path, manifest)
    first = bridge_revision(tmp_path)
    (tmp_path / "losses.jsonl").write_text("what the trainer keeps beside it is no part of it")
    write_random_bridge(tmp_path, manifest)
    assert bridge_revision(tmp_path) == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: facts.pop("format"),
        lambda facts: facts.update(format=2),
        lambda facts: facts.pop("decoder"),
        lambda facts: facts.update(unknown=1),
        lambda facts: facts.update(branches={}),
        lambda facts: facts.update(branches={"smell": facts["branches"]["vision"]}),
        lambda facts: facts.update(branches={"vision": {"model": "x"}}),
        lambda facts: facts.update(branches=[1]),
        lambda facts: facts.update(queries=0),
        lambda facts: facts.update(queries="many"),
        lambda facts: facts.update(speech_piece_seconds=-1),
        lambda facts: facts.update(weights_sha256=""),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, damage):
    write_random_bridge(tmp_path, bridge_manifest({"vision": VISION}))
    facts = json.loads((tmp_path / MANIFEST_NAME).read_text())
    damage(facts)
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(facts))
    with pytest.raises(BridgeUnavailable, match="cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"null", b"\xff\xfe", b"{"])
def test_files_that_are_no_description_are_refused(tmp_path: Path, content: bytes):
    for name in (MANIFEST_NAME, "config.json"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BridgeUnavailable) as told:
            read_manifest(tmp_path)
        assert str(tmp_path) not in told.value.message
        (tmp_path / name).unlink()


def test_a_missing_folder_says_how_to_get_one(tmp_path: Path):
    with pytest.raises(BridgeUnavailable, match="manymodal train-bridge"):
        read_manifest(tmp_path / "nothing")


def test_a_blip2_checkpoint_is_a_bridge_to_its_own_decoder(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    manifest = read_manifest(folder)
    assert (manifest.decoder, manifest.decoder_width, manifest.queries) == ("blip", WIDTH, QUERIES)
    vision = manifest.branches["vision"]
    found = registry.find("blip", tmp_path)
    assert vision == Branch("blip", found.revision, 64)
    assert not manifest.has_projections
    check_fit("blip", manifest, "blip", folder / "decoder", {"vision": found})
    # The decoder is made of the checkpoint: making it must not look like another checkpoint.
    before = bridge_revision(folder)
    (folder / "decoder" / "config.json").unlink()
    assert bridge_revision(folder) == before
    assert registry.find("blip", tmp_path).revision == found.revision


def test_another_kind_of_checkpoint_is_no_bridge(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(BridgeUnavailable, match="not BLIP-2"):
        read_manifest(tmp_path)


def test_a_bridge_fits_its_own_decoder_and_encoder_only(tmp_path: Path):
    manifest = bridge_manifest({"vision": VISION})
    decoder = decoder_folder(tmp_path / "decoder", hidden_size=32)
    ours = {"vision": spec("tiny-vision", "1")}
    check_fit("b", manifest, "tiny-decoder", decoder, ours)
    check_fit("b", manifest, "tiny-decoder", decoder, {})
    check_fit("b", manifest, "tiny-decoder", decoder, {**ours, "speech": spec("whisper", "1")})
    for name, folder, models, sentence in (
        ("other", decoder, ours, "made for the decoder 'tiny-decoder', and 'other' is served"),
        (
            "tiny-decoder",
            decoder_folder(tmp_path / "wide", hidden_size=64),
            ours,
            "width 32, and .* takes 64",
        ),
        ("tiny-decoder", decoder, {"vision": spec("clip", "1")}, "tokens of 'tiny-vision', and 'clip'"),
        ("tiny-decoder", decoder, {"vision": spec("tiny-vision", "2")}, "other weights of 'tiny-vision'"),
        ("tiny-decoder", tmp_path, ours, "no readable config.json"),
    ):
        with pytest.raises(BridgeUnavailable, match=sentence):
            check_fit("b", manifest, name, folder, models)


@pytest.mark.parametrize(
    ("facts", "width"),
    [
        ({"hidden_size": 32}, 32),
        ({"hidden_size": 1024, "word_embed_proj_dim": 512}, 512),
        ({"text_config": {"hidden_size": 48}}, 48),
    ],
)
def test_width_of_a_decoders_embeddings(tmp_path: Path, facts: dict[str, object], width: int):
    assert embedding_width(decoder_folder(tmp_path, **facts)) == width
