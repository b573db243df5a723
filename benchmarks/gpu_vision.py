"""ViT-L/14 on a GPU: images a second as a share of what the card's matrix units can do, measured in the same run.

The card's peak is measured, not taken from a data sheet: the best bf16 matrix product of several sizes, between the
rounds of the model. Weights are random, which changes no figure. The goal is half of that peak; where there is no
GPU nothing is measured, and that is what is written.

Run: ``python -m benchmarks.gpu_vision [--rounds 5] [--batch 128]``
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plots, report
from encoders.torch_device import Placement

GOAL_SHARE = 0.5
_SIDE = 224

# CLIP ViT-L/14 (Radford et al. 2021, table 20).
_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": _SIDE,
    "patch_size": 14,
    "projection_dim": 768,
}
_PRODUCT_SIZES = (4096, 8192, 12288)


def flops_per_image() -> float:
    """Floating-point operations of one forward pass: two for each multiply-add of the matrix products."""
    width, inner, layers = _VISION["hidden_size"], _VISION["intermediate_size"], _VISION["num_hidden_layers"]
    patches = (_SIDE // _VISION["patch_size"]) ** 2
    tokens = patches + 1
    layer = 4 * width * width + 2 * width * inner + 2 * tokens * width  # projections, feed-forward, attention
    stem = patches * 3 * _VISION["patch_size"] ** 2 * width
    return 2.0 * (layers * tokens * layer + stem + width * _VISION["projection_dim"])


def main() -> int:
    """Measure, write, and say whether the goal was met: 0 met or nothing to measure, 1 missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("skipped: this machine has no GPU (torch sees no CUDA device)")
        report.write("gpu_vision", {"status": "skipped", "reason": "no GPU at hand", "goal": GOAL_SHARE})
        return 0

    with tempfile.TemporaryDirectory() as folder:
        _write_checkpoint(Path(folder))
        result = _measure(Path(folder), options.rounds, options.batch)
    path = report.write("gpu_vision", result)
    plots.bars(
        "gpu_vision",
        f"ViT-L/14 on {result['gpu']}",
        "share of the measured bf16 matrix peak",
        {name: _spread(one["share_of_peak"]) for name, one in result["modes"].items()},
        goal=GOAL_SHARE,
    )
    share = max(one["share_of_peak"]["median"] for one in result["modes"].values())
    print(f"{result['gpu']}: best {share:.2f} of the measured bf16 peak (goal {GOAL_SHARE}); {path}")
    return 0 if share >= GOAL_SHARE else 1


def _write_checkpoint(folder: Path) -> None:
    """A CLIP with the real vision tower and hardly any text tower."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from transformers import CLIPConfig, CLIPModel

    size = importlib.import_module("tiny_models").clip_tokenizer(folder)
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    ends = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    config = CLIPConfig(
        text_config={**text, "vocab_size": size, "projection_dim": 768, **ends},
        vision_config=_VISION,
        projection_dim=768,
    )
    CLIPModel(config).save_pretrained(folder)


def _measure(folder: Path, rounds: int, batch: int) -> dict[str, Any]:
    """Peak and model by turns, so that both see the same clocks and temperature."""
    import torch

    from encoders.models import clip

    modes = {
        "plain": clip.build(folder, Placement("cuda", "bfloat16")).vision,
        "cuda graphs": clip.build(folder, Placement("cuda", "bfloat16", compiled=True)).vision,
    }
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (batch, _SIDE, _SIDE, 3), dtype=np.uint8))
    peaks: list[float] = []
    seen: dict[str, list[float]] = {name: [] for name in modes}
    for tower in modes.values():
        for _ in range(3):
            tower.run(tower.prepare(pictures))
    _peak()
    for _ in range(rounds):
        peaks.append(_peak())
        for name, tower in modes.items():
            prepared = [tower.prepare(pictures) for _ in range(8)]
            torch.cuda.synchronize()
            seen[name].append(8 * batch / _seconds(partial(_run_all, tower, prepared)))
    needed = flops_per_image()
    return {
        "status": "measured",
        "gpu": torch.cuda.get_device_name(),
        "batch": batch,
        "goal": GOAL_SHARE,
        "peak_bf16_teraflops": report.summary([peak / 1e12 for peak in peaks]),
        "gigaflops_per_image": round(needed / 1e9, 1),
        "modes": {
            name: {
                "images_per_second": report.summary(rates),
                "share_of_peak": report.ratios([rate * needed for rate in rates], peaks),
            }
            for name, rates in seen.items()
        },
    }


def _run_all(tower: Any, prepared: list[Any]) -> None:
    for one in prepared:
        tower.run(one)


def _peak() -> float:
    """Operations a second of the best bf16 matrix product."""
    import torch

    best = 0.0
    for size in _PRODUCT_SIZES:
        left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
        right = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
        times = 20

        def multiply(a: torch.Tensor = left, b: torch.Tensor = right, count: int = times) -> None:
            for _ in range(count):
                torch.mm(a, b)
            torch.cuda.synchronize()

        multiply()
        best = max(best, times * 2.0 * size**3 / _seconds(multiply))
    return best


def _spread(figures: dict[str, float]) -> tuple[float, float, float]:
    return figures["median"], figures["min"], figures["max"]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
