"""TTFT of a question about a photo seen before, against the same number of prompt tokens as plain text.

One platform; requests take turns: text, photo by id, photo as data URL, in changing order. The words of every
question are new, what stands before them is the same, so the prefix cache serves all three alike.
Goal: <= 1.1 times the text's TTFT. Exit code 1 when the median of the rounds misses it. ``make bench-repeated``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.chat import platform_command
from benchmarks.report import ratios, summary, write
from benchmarks.servers import server
from benchmarks.twins import Part, ask, by_turns, text_twin, uploaded
from deploy.ports import free_port
from deploy.settings import load_settings

GOAL = 1.1
PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"


def main() -> int:
    """Measure, print, write ``results/repeated.json``; the exit code says whether the goal was met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--requests", type=int, default=15, help="per variant and round")
    options.add_argument("--photo", type=Path, default=None, help="a JPEG (default: of ../shared/data)")
    given = options.parse_args()
    photo = given.photo or sorted(PHOTOS.rglob("*.jpg"))[0]

    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = load_settings({"port": free_port(), "data_dir": Path(folder) / "data"})
        base_url = f"http://127.0.0.1:{settings.port}"
        with server(platform_command(settings), base_url, "/ready", Path(folder) / "log"):
            measured = asyncio.run(_measure(base_url, photo.read_bytes(), given.rounds, given.requests))

    text = measured["text"]
    result: dict[str, Any] = {
        "ttft_seconds": {name: summary(values) for name, values in measured.items()},
        "goals": {"ttft_ratio_max": GOAL},
        "settings": {"photo_bytes": photo.stat().st_size, "requests": given.requests},
    }
    missed = []
    for name in ("file_id", "data_url"):
        ratio = result[f"{name}_ratio"] = ratios(measured[name], text)
        print(f"{name}: {ratio['median']:.2f} of the text's TTFT ({ratio['min']:.2f}-{ratio['max']:.2f})")
        if ratio["median"] > GOAL:
            missed.append(f"{name}: TTFT {ratio['median']:.3f} times the text's")
    print(f"Written to {write('repeated', result)}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


async def _measure(base_url: str, photo: bytes, rounds: int, requests: int) -> dict[str, list[float]]:
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=300)) as session:
        url = f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"
        before: dict[str, list[Part]] = {
            "file_id": [await uploaded(session, "photo.jpg", "image/jpeg", photo)],
            "data_url": [{"type": "image_url", "image_url": {"url": url}}],
        }
        for parts in before.values():  # seen before, from here on
            await ask(session, parts, "warm-up")
        before["text"] = [await text_twin(session, before["file_id"])]
        return await by_turns(session, before, rounds, requests)


if __name__ == "__main__":
    sys.exit(main())
