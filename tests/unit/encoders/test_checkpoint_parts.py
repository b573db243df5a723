"""One part of a checkpoint: all of its weights and nothing else, or a sentence that says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from encoders.checkpoint import own_loaded_bytes
from encoders.checkpoint_parts import load_part, part_parameters, read_header, read_part
from encoders.errors import ModelUnavailable


def build() -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


WEIGHTS = {
    "eye.weight": torch.arange(6.0).reshape(2, 3),
    "eye.bias": torch.tensor([7.0, 8.0]),
    "eyelid.weight": torch.ones(4),
    "mouth.weight": torch.ones(5, 5),
}


def sharded(folder: Path, *shards: dict[str, torch.Tensor]) -> Path:
    places = {}
    for number, tensors in enumerate(shards):
        name = f"model-{number}.safetensors"
        save_file(tensors, folder / name)
        places.update(dict.fromkeys(tensors, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def whole(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in WEIGHTS.items() if key != name}


@pytest.mark.parametrize("split", [False, True])
def test_the_part_is_the_checkpoints_own_weights(tmp_path: Path, split: bool):
    if split:
        first = {key: WEIGHTS[key] for key in ("eye.weight", "mouth.weight")}
        folder = sharded(tmp_path, first, {key: WEIGHTS[key] for key in WEIGHTS if key not in first})
    else:
        folder = whole(tmp_path, WEIGHTS)
    part = load_part(folder, "eye.", build)
    assert torch.equal(part.weight, WEIGHTS["eye.weight"])
    assert torch.equal(part.bias, WEIGHTS["eye.bias"])
    assert part_parameters(folder, "eye.") == 8
    assert set(read_part(folder, "mouth.")) == {"weight"}
    assert part(torch.ones(1, 3)).tolist() == [[10.0, 20.0]]


@pytest.mark.parametrize(
    "tensors",
    [
        without("eye.bias"),
        {**WEIGHTS, "eye.more": torch.ones(1)},
        {**WEIGHTS, "eye.weight": torch.ones(3, 2)},
    ],
    ids=["missing", "over", "other shape"],
)
def test_weights_that_do_not_fit_are_never_random(tmp_path: Path, tensors: dict[str, torch.Tensor]):
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        load_part(whole(tmp_path, tensors), "eye.", build)


def test_transformers_loads_such_a_part_at_random_and_this_does_not(tmp_path: Path):
    # The trap that this module is there for: no name matches, and no error comes. When transformers has mended it,
    # the assertion about theirs can go.
    from tiny_blip2 import tiny_blip2
    from transformers import Blip2VisionModel

    folder = tiny_blip2(tmp_path / "blip2", "opt")
    theirs = Blip2VisionModel.from_pretrained(folder)
    ours = load_part(folder, "vision_model.", lambda: Blip2VisionModel(theirs.config))
    stored = read_part(folder, "vision_model.")
    assert ours.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[key]) for key, value in ours.state_dict().items())
    assert not any(torch.equal(value, stored[key]) for key, value in theirs.state_dict().items())
    with pytest.raises(ModelUnavailable):
        load_part(folder, "qformer.", lambda: Blip2VisionModel(theirs.config))


def test_buffers_that_no_checkpoint_holds_are_not_left_empty(tmp_path: Path):
    class Counting(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("table", torch.arange(4), persistent=False)

    with pytest.raises(ModelUnavailable, match="does not hold all"):
        load_part(whole(tmp_path, WEIGHTS), "eye.", Counting)


def test_a_checkpoint_without_the_part_says_so(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match=r"begin with 'ear\.'"):
        read_part(whole(tmp_path, WEIGHTS), "ear.")


@pytest.mark.parametrize("outside", ["../eye.safetensors", "sub/eye.safetensors", "eye.bin", 7])
def test_an_index_cannot_point_outside_or_to_pickles(tmp_path: Path, outside: object):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"eye.weight": torch.ones(2, 3)}, tmp_path / "eye.safetensors")
    index = {"weight_map": {"eye.weight": outside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        read_part(folder, "eye.")


@pytest.mark.parametrize("kept", [0, 4, 12, 200, -1])
def test_damaged_files_are_told(tmp_path: Path, kept: int):
    path = whole(tmp_path, WEIGHTS) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelUnavailable) as told:
        read_part(tmp_path, "eye.")
    assert str(tmp_path) not in told.value.message


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[1]", b'{"eye.weight": 3}', b'{"eye.weight": {}}'])
def test_headers_that_make_no_sense_are_told(tmp_path: Path, header: bytes):
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    for look in (lambda: part_parameters(tmp_path, "eye."), lambda: own_loaded_bytes(tmp_path)):
        with pytest.raises(ModelUnavailable):
            look()


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((3 << 30).to_bytes(8, "little"))
    os.truncate(path, 4 << 30)  # takes no room on the disk
    with pytest.raises(ValueError, match="no safetensors file"):
        read_header(path)


def test_no_files_at_all(tmp_path: Path):
    with pytest.raises(ModelUnavailable):
        part_parameters(tmp_path, "eye.")
