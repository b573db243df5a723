"""The peer program of ``benchmarks.text``: sentence-transformers or infinity-emb over JSON lines, without ours.

    text_peer.py sentence-transformers MODEL_FOLDER THREADS
    text_peer.py infinity-torch|infinity-onnx|infinity-onnx-int8 MODEL_FOLDER THREADS

Answers ``{"texts": [...], "repeats": n}`` with ``{"seconds": [...], "processor_seconds": mean, "first": [...]}``.
What the folder lacks for ONNX is exported into it at the start, as the library's own tools do it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Embed = Callable[[Sequence[str]], Any]


def sentence_transformers(folder: str) -> Embed:
    """``encode`` as it comes."""
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]  # a peer

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, normalize_embeddings=True)


def infinity(folder: str, kind: str) -> Embed:
    """An engine as its own command line would start it, with its answers cache off."""
    from infinity_emb import EngineArgs, SyncEngineArray  # type: ignore[import-not-found]  # a peer

    if kind != "torch":
        export(folder, quantised=kind == "onnx-int8")
    os.chdir(folder)  # of a local folder it only finds ONNX files by paths relative to it
    arguments = EngineArgs(
        model_name_or_path=".",
        served_model_name="minilm",
        engine="torch" if kind == "torch" else "optimum",
        device="cpu",
        batch_size=32,
        model_warmup=False,
    )
    engines = SyncEngineArray.from_args([arguments])
    return lambda texts: engines.embed(model="minilm", sentences=texts).result()[0]


def export(folder: str, quantised: bool) -> None:
    """``model.onnx``, or in int8 as the hub's ``model_qint8_avx512_vnni.onnx`` was made."""
    from optimum.onnxruntime import (  # type: ignore[import-not-found]  # a peer
        ORTModelForFeatureExtraction,
        ORTQuantizer,
    )
    from optimum.onnxruntime.configuration import AutoQuantizationConfig  # type: ignore[import-not-found]  # a peer

    target = Path(folder) / "exported"
    model = ORTModelForFeatureExtraction.from_pretrained(folder, export=True)
    model.save_pretrained(target)
    if quantised:
        how = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        ORTQuantizer.from_pretrained(target).quantize(save_dir=target, quantization_config=how)
    # Beside config.json: optimum-onnx does not find a file that infinity names with its folder.
    name = "model_quantized.onnx" if quantised else "model.onnx"
    (target / name).rename(Path(folder) / name)
    shutil.rmtree(target)


def main() -> None:
    """Read questions until the input ends."""
    name, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ["OMP_NUM_THREADS"] = threads
    import torch

    torch.set_num_threads(int(threads))
    library, _, kind = name.partition("-")
    embed = infinity(folder, kind) if library == "infinity" else sentence_transformers(folder)
    for line in sys.stdin:
        question = json.loads(line)
        seconds: list[float] = []
        begun = time.process_time()
        vectors: Any = []
        for _ in range(question["repeats"]):
            started = time.perf_counter()
            vectors = embed(question["texts"])
            seconds.append(time.perf_counter() - started)
        processor = (time.process_time() - begun) / question["repeats"]
        first = [float(value) for value in vectors[0]]
        answers.write(json.dumps({"seconds": seconds, "processor_seconds": processor, "first": first}) + "\n")
        answers.flush()
    os._exit(0)  # engines keep threads


if __name__ == "__main__":
    main()
