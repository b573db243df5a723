"""The decoder of a multimodal checkpoint as a checkpoint of its own, which any engine for text models can serve.

Weights are copied file by file with the prefix taken off their names; every name and shape is held against the
architecture first. The folder appears whole or not at all, and is made anew when the checkpoint has changed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoders.checkpoint import read_facts
from encoders.checkpoint_parts import shards
from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec
from encoders.weights import content_revision, holds_own_files, read_manifest, write_manifest

__all__ = ["CHAT_TEMPLATE", "split_decoder"]

_JINJA = "chat_template.jinja"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    _JINJA,
)

CHAT_TEMPLATE = """\
{%- set state = namespace(begun=false) -%}
{%- for message in messages -%}
{%- set text = message.content or '' -%}
{%- if message.role == 'user' -%}
{%- set soft = text.rfind('<prompt_embeds>') -%}
{%- set seen = text.rfind('<image>') -%}
{%- set end = [soft + 15 if soft >= 0 else 0, seen + 7 if seen >= 0 else 0] | max -%}
{{- text[:end] -}}
{%- if not state.begun -%}{{- bos_token -}}{%- set state.begun = true -%}{%- else -%}{{- ' ' -}}{%- endif -%}
{{- 'Question: ' ~ text[end:].strip() ~ ' Answer:' -}}
{%- elif message.role == 'assistant' -%}
{{- ' ' ~ text.strip() -}}
{%- else -%}
{{- text.strip() ~ '\\n' -}}
{%- endif -%}
{%- endfor -%}
"""
"""What BLIP-2 was evaluated with (Li et al. 2023, section 4.1), for checkpoints that bring no template: pictures,
the token that begins a text, ``Question: ... Answer:``. It works with vLLM's marker of soft tokens and with
``<image>``.
"""


def split_decoder(directory: Path, target: Path, prefix: str, name: str) -> None:
    """Write the decoder of the checkpoint in ``directory`` (weights under ``prefix``) to ``target``.

    A folder there that this has made of the same bytes stays; one that the owner of the machine has put there stays
    too. Raises ``ModelUnavailable`` when the decoder is not a plain causal language model, is not whole, or cannot
    be written.
    """
    if holds_own_files(target):
        return
    revision = content_revision(directory, (target.name,))
    if _is_good(target, revision):
        return
    spec = ModelSpec(f"{name}/{target.name}", "chat", ("text",), None, "unknown", revision, "1")
    try:
        _make(directory, target, prefix, spec, f"split off {name}")
    except OSError as error:
        raise ModelUnavailable(
            f"The decoder of '{directory.name}' could not be split off into a folder of its own: "
            f"{error.strerror or 'a file cannot be read or written'}."
        ) from error


def _make(directory: Path, target: Path, prefix: str, spec: ModelSpec, source: str) -> None:
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=directory))
    try:
        _write(directory, building, prefix)
        write_manifest(building, spec, source)
        for path in (building, *building.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(target, ignore_errors=True)
        try:
            building.rename(target)
        except OSError:
            if not _is_good(target, spec.revision):  # else another process was faster
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_good(target: Path, revision: str) -> bool:
    manifest = read_manifest(target)
    return (
        manifest is not None
        and manifest.get("revision") == revision
        and all(
            (target / name).is_file() and (target / name).stat().st_size == facts["size_bytes"]
            for name, facts in manifest["files"].items()
        )
    )


def _write(directory: Path, target: Path, prefix: str) -> None:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    settings = read_facts(directory).get("text_config")
    found = shards(directory, prefix)
    _write_config(settings, target, directory.name)
    weight_map: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    total_bytes = 0
    try:
        for number, (file, names) in enumerate(sorted(found.items()), start=1):
            written = (
                f"model-{number:05d}-of-{len(found):05d}.safetensors"
                if len(found) > 1
                else "model.safetensors"
            )
            with safe_open(directory / file, framework="pt") as opened:
                tensors = {name[len(prefix) :]: opened.get_tensor(name).contiguous() for name in names}
                save_file(tensors, target / written, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(tensors, written))
            shapes.update({key: tuple(one.shape) for key, one in tensors.items()})
            total_bytes += sum(one.nbytes for one in tensors.values())
    except SafetensorError as error:
        raise ModelUnavailable(
            f"The decoder of '{directory.name}' could not be split off: its weights cannot be read, or the disk is "
            "full."
        ) from error
    if len(found) > 1:
        index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
        (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    _check(target, shapes, directory.name)
    _write_tokenizer(directory, target)


def _write_config(settings: Any, target: Path, name: str) -> None:
    """The decoder's ``config.json``, with the class that serves it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    family = settings.get("model_type", "opt") if isinstance(settings, Mapping) else None
    served = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family)
    if served is None or settings.get("is_encoder_decoder"):
        raise ModelUnavailable(
            f"The decoder of '{name}' is of the kind '{family}'; soft tokens need a decoder-only model such as "
            "OPT or Llama."
        )
    config = {**settings, "model_type": family, "architectures": [served]}
    (target / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")


def _check(target: Path, shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
    """Raise ``ModelUnavailable`` unless the weights are those of the architecture, tied ones left out or not."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(target, local_files_only=True)
            )
    except Exception as error:  # transformers checks settings with errors of many bases
        raise ModelUnavailable(f"The decoder of '{name}' has settings that make no sense.") from error
    expected = {key: tuple(one.shape) for key, one in model.state_dict().items()}
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    wrong = [key for key in shapes if expected.get(key) != shapes[key]]
    if wrong or set(expected) - set(shapes) - tied:
        raise ModelUnavailable(
            f"The decoder of '{name}' lacks weights that its settings ask for, has others, or has them in another "
            "shape; fetch the checkpoint again."
        )


def _write_tokenizer(directory: Path, target: Path) -> None:
    """The checkpoint's tokenizer files, and the chat template where a tokenizer looks for it: the tokenizer's own,
    else the processor's, else ours.
    """
    copied = [name for name in _TOKENIZER_FILES if (directory / name).is_file()]
    for name in copied:
        shutil.copyfile(directory / name, target / name)
    if _JINJA not in copied and not _template_in(directory / "tokenizer_config.json"):
        template = _template_in(directory / "chat_template.json") or CHAT_TEMPLATE
        (target / _JINJA).write_text(template, encoding="utf-8")


def _template_in(path: Path) -> str | None:
    """The chat template in a file of JSON, if there is one. Raises ``ModelUnavailable`` when it cannot be read."""
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelUnavailable(
            f"The file '{path.name}' of '{path.parent.name}' is damaged; fetch the checkpoint again."
        ) from error
    found = facts.get("chat_template") if isinstance(facts, dict) else None
    return found if isinstance(found, str) else None
