"""The Whisper files: features in bounded memory, weights under OpenAI's names, folders of one's own, batches."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.errors import ModelUnavailable
from encoders.models import whisper_faster, whisper_openai
from encoders.speech.ctranslate2_weights import openai_whisper, read_weights
from encoders.speech.faster_transcriber import FasterTranscriber
from encoders.speech.log_mel import LogMel
from encoders.speech.transcriber import Asked

# -- features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 399, 16_000, 480_000, 3 * 480_000 + 777])
@pytest.mark.parametrize("padding", [0, 160])
def test_features_are_those_of_faster_whisper(count: int, padding: int) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    if count + padding <= 400 // 2:
        pytest.skip("faster-whisper's own reflection needs more samples")
    theirs = FeatureExtractor()
    samples = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    expected = theirs(samples, padding=padding)
    actual = LogMel(theirs)(samples, padding=padding)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


def test_kept_features_serve_once_and_only_that_sound() -> None:
    calls: list[int] = []

    class Extractor:
        n_fft = 400
        hop_length = 160

        def __call__(self, waveform: np.ndarray, **_: Any) -> np.ndarray:
            calls.append(len(waveform))
            return np.zeros((80, 1), np.float32)

    features, short = LogMel(Extractor()), np.zeros(10, np.float32)
    kept = features.keep(short)
    assert features(short) is kept
    assert calls == [10]
    assert features(short) is not kept
    features.keep(short)
    features(short.copy())
    assert calls == [10, 10, 10, 10]


def test_the_rest_of_the_extractor_shows_through() -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    assert LogMel(FeatureExtractor(feature_size=128)).mel_filters.shape == (128, 201)


# -- CTranslate2's file -----------------------------------------------------------------------------------


def written(path: Path, variables: dict[str, np.ndarray], version: int = 6) -> Path:
    """A ``model.bin`` as CTranslate2 lays it out."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    parts = [struct.pack("<I", version), name("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for key, array in variables.items():
        parts += [name(key), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", kinds[array.dtype.name], array.nbytes), array.tobytes()]
    path.write_bytes(b"".join([*parts, struct.pack("<I", 0)]))
    return path


def carried(width: int = 64, mels: int = 80, dtype: Any = np.float16) -> dict[str, np.ndarray]:
    """Random weights of a one-layer Whisper under CTranslate2's names."""
    rng = np.random.default_rng(0)

    def made(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(dtype)

    found = {
        "encoder/conv1/weight": made(width, mels, 3),
        "encoder/conv1/bias": made(width),
        "encoder/conv2/weight": made(width, width, 3),
        "encoder/conv2/bias": made(width),
        "encoder/position_encodings/encodings": made(1500, width),
        "decoder/position_encodings/encodings": made(448, width),
        "decoder/embeddings/weight": made(51_865, width),
        "decoder/scale_embeddings": np.array(0, np.int8),
    }

    def norm(name: str) -> None:
        found[f"{name}/gamma"], found[f"{name}/beta"] = made(width), made(width)

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}/weight"], found[f"{name}/bias"] = made(rows, columns), made(rows)

    for side in ("encoder", "decoder"):
        layer = f"{side}/layer_0"
        norm(f"{side}/layer_norm")
        norm(f"{layer}/self_attention/layer_norm")
        norm(f"{layer}/ffn/layer_norm")
        linear(f"{layer}/self_attention/linear_0", 3 * width, width)
        found[f"{layer}/self_attention/linear_0/bias"][width : 2 * width] = 0
        linear(f"{layer}/self_attention/linear_1", width, width)
        linear(f"{layer}/ffn/linear_0", 4 * width, width)
        linear(f"{layer}/ffn/linear_1", width, 4 * width)
    norm("decoder/layer_0/attention/layer_norm")
    linear("decoder/layer_0/attention/linear_0", width, width)
    linear("decoder/layer_0/attention/linear_1", 2 * width, width)
    found["decoder/layer_0/attention/linear_1/bias"][:width] = 0
    linear("decoder/layer_0/attention/linear_2", width, width)
    return found


def test_reading_gives_what_was_written(tmp_path: Path) -> None:
    variables = carried()
    found = read_weights(written(tmp_path / "model.bin", variables))
    assert found.keys() == variables.keys()
    for name, array in variables.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_weights_fit_openais_network_exactly() -> None:
    """Names and shapes are those that ``whisper.model.Whisper`` asks for, none left over."""
    from whisper.model import ModelDimensions, Whisper

    named = openai_whisper(carried())
    dimensions = whisper_openai.dimensions(named)
    network = Whisper(ModelDimensions(**dimensions))
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == {
        name: array.shape for name, array in named.items()
    }
    assert (dimensions["n_audio_layer"], dimensions["n_text_layer"], dimensions["n_mels"]) == (1, 1, 80)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_damaged_files_are_refused(tmp_path: Path, kept: float) -> None:
    path = written(tmp_path / "model.bin", {"one": np.ones((3, 4), np.float32)})
    whole = path.read_bytes()[:-4]
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelUnavailable, match="damaged"):
        read_weights(path)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="format 7"):
        read_weights(written(tmp_path / "model.bin", {}, version=7))
    with pytest.raises(ModelUnavailable, match="not the weights of a Whisper"):
        openai_whisper({"encoder/conv1/weight": np.zeros((1, 1, 3), np.float32)})
    with pytest.raises(ModelUnavailable, match="quantised"):
        openai_whisper({**carried(), "encoder/conv1/weight": np.zeros((64, 80, 3), np.int8)})
    biased = carried()
    biased["encoder/layer_0/self_attention/linear_0/bias"][:] = 1
    with pytest.raises(ModelUnavailable, match="keys have no bias"):
        openai_whisper(biased)


# -- which models, where ----------------------------------------------------------------------------------


def test_family() -> None:
    names = [spec.name for spec in whisper_faster.SPECS]
    assert names[0] == "whisper-base"
    assert len(set(names)) == len(names)
    for spec in (*whisper_faster.SPECS, whisper_openai.SPEC):
        assert (spec.task, spec.licence) == ("speech", "MIT")
        assert spec.memory_bytes >= 500 << 20
        assert spec.packages or spec.hub_id
        if not spec.packages:
            assert "model.bin" in spec.extra["hub_patterns"]


def test_a_folder_of_ones_own_is_adopted(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"alignment_heads": [[0, 0]], "lang_ids": [50_259], "suppress_ids": []}
    assert whisper_faster.adopt("mine", tmp_path, facts) is None  # nothing there
    for name in ("config.json", "model.bin", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"{}")
    spec = whisper_faster.adopt("mine", tmp_path, facts)
    assert spec is not None
    assert (spec.name, spec.task) == ("mine", "speech")
    (tmp_path / "model.bin").write_bytes(b"other weights")
    other = whisper_faster.adopt("mine", tmp_path, facts)
    assert other is not None
    assert other.revision != spec.revision
    assert whisper_faster.adopt("mine", tmp_path, {"model_type": "bert"}) is None


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    assert whisper_faster.device_of("auto") == whisper_faster.device_of("cpu") == "cpu"
    with pytest.raises(ModelUnavailable, match="sees no GPU"):
        whisper_faster.device_of("cuda")
    with pytest.raises(ModelUnavailable, match="no device 'tpu'"):
        whisper_faster.device_of("tpu")
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    assert whisper_faster.device_of("auto") == "cuda"
    assert whisper_faster.device_of("cuda:1") == "cuda:1"
    assert whisper_faster.device_of("cpu") == "cpu"


# -- batches ----------------------------------------------------------------------------------------------


def told(
    seek: int, text: str, compression: float = 1.2, log_probability: float = -0.2, no_speech: float = 0.0
):
    """A segment as faster-whisper's batch gives it."""
    return SimpleNamespace(
        seek=seek, start=seek / 100, end=seek / 100 + 9, text=text, avg_logprob=log_probability,
        no_speech_prob=no_speech, compression_ratio=compression, temperature=0.0, tokens=[1],
        words=[SimpleNamespace(start=seek / 100, end=seek / 100 + 9, word=text, probability=0.9)],
    )  # fmt: skip


@pytest.mark.parametrize("words", [True, False])
def test_windows_that_went_wrong_are_heard_again_or_left_out(words: bool) -> None:
    again: list[int] = []

    class Alone:
        hf_tokenizer = SimpleNamespace(encode=lambda text, add_special_tokens: SimpleNamespace(ids=[7, 8]))

        def transcribe(self, speech: np.ndarray, **options: Any) -> tuple[Any, None]:
            assert options["language"] == "en"
            assert options["temperature"] == [0.0, 0.2]
            again.append(int(speech[0]))
            return iter([told(0, " again.")]), None

    model = object.__new__(FasterTranscriber)
    model._model = Alone()
    batch = [
        told(0, " fine."),
        told(1000, " la la la la", compression=3.0),
        told(2000, " perhaps", log_probability=-1.5),
        told(3000, " nothing", log_probability=-1.5, no_speech=0.9),
        told(4000, " quiet but sure.", no_speech=0.9),
    ]
    clips = [(index * 160_000, (index + 1) * 160_000) for index in range(5)]
    wanted = Asked("en", None, (0.0, 0.2), "transcribe", words)
    speech = np.arange(5 * 160_000, dtype=np.float32)
    found = list(model._checked(iter(batch), speech, clips, wanted))
    assert [one.text for one in found] == [" fine.", " again.", " again.", " quiet but sure."]
    assert [one.start_seconds for one in found] == [0, 10, 20, 40]
    assert again == [160_000, 320_000]
    assert bool(found[0].words) is words
    assert found[0].tokens == (7, 8)
