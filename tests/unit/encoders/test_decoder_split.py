"""The decoder of a BLIP-2 checkpoint as a checkpoint of its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_blip2 import CHAT_TEMPLATE, DecoderKind, blip2_tokenizer, tiny_blip2

from encoders import decoder_split
from encoders.errors import ModelUnavailable
from encoders.prepare import prepare_model
from encoders.registry import find
from encoders.weights import MANIFEST_NAME, WeightSource, resolve, write_manifest


def quiet(_fraction: float, _text: str) -> None:
    pass


def split(folder: Path) -> Path:
    decoder_split.split_decoder(folder, folder / "decoder", "language_model.", folder.name)
    return folder / "decoder"


def state(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found.update(load_file(path))
    return found


def shard(folder: Path, count: int) -> None:
    """The checkpoint's weights in ``count`` files."""
    tensors = state(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number in range(count):
        part = names[number::count]
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def change(folder: Path, **facts: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(facts)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("kind", ["opt", "llama"])
@pytest.mark.parametrize("shards", [1, 3])
def test_it_answers_as_the_checkpoints_own_decoder(tmp_path: Path, kind: DecoderKind, shards: int):
    from transformers import AutoModelForCausalLM, AutoTokenizer, Blip2ForConditionalGeneration

    folder = tiny_blip2(tmp_path / "blip", kind)
    whole = Blip2ForConditionalGeneration.from_pretrained(folder).eval().language_model
    if shards > 1:
        shutil.rmtree(folder / "decoder")
        shard(folder, shards)
    decoder = split(folder)
    alone, found = AutoModelForCausalLM.from_pretrained(decoder, output_loading_info=True)
    assert not any(found.values())
    assert type(alone) is type(whole)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        # Weights to the bit. Logits were seen 2e-3 apart on this very machine, once in a while, with equal weights.
        assert alone.state_dict().keys() == whole.state_dict().keys()
        assert all(torch.equal(value, whole.state_dict()[key]) for key, value in alone.state_dict().items())
        ours, theirs = alone.eval()(input_ids=ids).logits, whole(input_ids=ids).logits
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert tokenizer("what is it").input_ids == blip2_tokenizer()("what is it").input_ids


def test_it_is_made_once_and_again_when_the_checkpoint_changes(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    inode = (folder / "decoder").stat().st_ino
    prepare_model("blip", tmp_path, quiet)
    assert (folder / "decoder").stat().st_ino == inode

    tensors = state(folder)
    changed = "language_model.model.decoder.layers.0.fc1.bias"
    tensors[changed] = tensors[changed] + 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    prepare_model("blip", tmp_path, quiet)
    again = state(folder / "decoder")[changed.removeprefix("language_model.")]
    assert torch.equal(again, tensors[changed])

    (folder / "decoder" / "tokenizer.json").unlink()  # someone tidied up
    prepare_model("blip", tmp_path, quiet)
    assert (folder / "decoder" / "tokenizer.json").is_file()
    assert not list(folder.glob(".decoder.*"))


def test_a_fetched_checkpoint_stays_good_without_what_was_made_of_it(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip2-opt-2.7b", "opt")
    spec = find(folder.name, tmp_path)
    write_manifest(folder, spec, "hub")  # as a preparation does after it has fetched and split
    assert not [name for name in json.loads((folder / MANIFEST_NAME).read_text())["files"] if "/" in name]
    shutil.rmtree(folder / "decoder")
    assert resolve(spec, tmp_path).source == WeightSource.DIRECTORY  # and not: fetch gigabytes again
    prepare_model(folder.name, tmp_path, quiet)
    assert (folder / "decoder" / "model.safetensors").is_file()
    assert find(folder.name, tmp_path).revision == spec.revision


def test_what_a_killed_split_left_is_removed_by_a_later_one(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    left, running = folder / ".decoder.killed", folder / ".decoder.running"
    for path in (left, running):
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"half")
    for path in (left / "model.safetensors", left):
        os.utime(path, (1, 1))
    prepare_model("blip", tmp_path, quiet)
    assert not left.exists()
    assert running.exists()


@pytest.mark.parametrize("fails", ["shutil.copyfile", "tempfile.mkdtemp", "pathlib.Path.rename"])
def test_a_disk_that_fails_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")

    def full(*_given: Any, **_named: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fails, full)
        with pytest.raises(ModelUnavailable, match="No space left on device"):
            split(folder)
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_a_decoder_that_the_owner_put_there_stays(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")
    (folder / "decoder").mkdir()
    (folder / "decoder" / "config.json").write_text("{}")
    split(folder)
    assert [path.name for path in (folder / "decoder").iterdir()] == ["config.json"]


def test_tied_weights_may_be_left_out_and_others_may_not(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")  # OPT ties its head to its embeddings
    tensors = state(folder)
    assert "language_model.lm_head.weight" not in tensors
    embedding = tensors["language_model.model.decoder.embed_tokens.weight"]
    shutil.rmtree(folder / "decoder")
    save_file({**tensors, "language_model.lm_head.weight": embedding.clone()}, folder / "model.safetensors")
    assert "lm_head.weight" in state(split(folder))


@pytest.mark.parametrize("which", ["missing", "over", "other shape"])
def test_weights_that_are_not_the_architectures_are_refused(tmp_path: Path, which: str):
    folder = tiny_blip2(tmp_path / "blip", "llama")
    shutil.rmtree(folder / "decoder")
    tensors = state(folder)
    if which == "missing":
        del tensors["language_model.lm_head.weight"]
    elif which == "over":
        tensors["language_model.model.extra"] = torch.ones(1)
    else:
        tensors["language_model.model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        split(folder)
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_settings_that_make_no_sense_are_told(tmp_path: Path):
    from encoders.models.blip2 import build
    from encoders.torch_device import Placement

    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")
    change(folder, hidden_size="wide")
    with pytest.raises(ModelUnavailable, match="make no sense"):
        split(folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_attention_heads"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="make no sense"):
        build(folder, Placement("cpu", "float32"))


@pytest.mark.parametrize(
    "facts", [{"model_type": "t5"}, {"model_type": "nothing"}, {"is_encoder_decoder": True}]
)
def test_decoders_that_read_no_soft_tokens_are_refused(tmp_path: Path, facts: dict[str, Any]):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")
    change(folder, **facts)
    with pytest.raises(ModelUnavailable, match="decoder-only"):
        split(folder)


@pytest.mark.parametrize("marker", ["<prompt_embeds>", "<image>"])
def test_without_a_template_the_decoder_is_asked_as_it_was_trained(tmp_path: Path, marker: str):
    from transformers import AutoTokenizer

    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")
    (folder / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(split(folder))

    def written(*messages: tuple[str, str]) -> str:
        return str(
            tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in messages], tokenize=False
            )
        )

    question = f"{marker}\n{marker}\nHow many cats?"
    assert written(("user", question)) == f"{marker}\n{marker}<s>Question: How many cats? Answer:"
    assert written(("user", "How many cats?")) == "<s>Question: How many cats? Answer:"
    assert (
        written(("system", "Be short."), ("user", question), ("assistant", "Two."), ("user", "Sure?"))
        == f"Be short.\n{marker}\n{marker}<s>Question: How many cats? Answer: Two. Question: Sure? Answer:"
    )


@pytest.mark.parametrize("where", ["chat_template.json", "tokenizer_config.json"])
def test_a_template_of_the_checkpoint_reaches_the_decoder_from_wherever_it_lies(tmp_path: Path, where: str):
    from transformers import AutoTokenizer

    folder = tiny_blip2(tmp_path / "blip", "opt")
    shutil.rmtree(folder / "decoder")
    (folder / "chat_template.jinja").unlink()
    facts = json.loads((folder / where).read_text()) if (folder / where).exists() else {}
    (folder / where).write_text(json.dumps({**facts, "chat_template": "{{ messages[0].content }}!"}))
    assert AutoTokenizer.from_pretrained(split(folder)).chat_template == "{{ messages[0].content }}!"
    shutil.rmtree(folder / "decoder")
    (folder / where).write_text("{")
    with pytest.raises(ModelUnavailable, match="is damaged"):
        split(folder)


def test_the_vision_tower_is_read_from_its_own_weights_alone(tmp_path: Path):
    folder = tiny_blip2(tmp_path / "blip", "opt")
    spec = find("blip", tmp_path)
    assert (spec.task, spec.dimensions, spec.extra["side_pixels"]) == ("vision", 64, 1024)
    tensors = {key: value for key, value in state(folder).items() if key.startswith("vision_model.")}
    assert spec.memory_bytes == int(sum(one.numel() for one in tensors.values()) * 4 * 1.3) + (512 << 20)
