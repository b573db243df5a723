"""A bridge trained on real photos for the real small decoder: the loss falls, and it answers when it is served.

The vision model has random weights (none with patch tokens can be had without a hub), so the bridge learns these
few photos by heart. That it learns, and not how well it sees, is what is tested.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_vit

from encoders import registry
from encoders.checkpoint import load_network, load_tokenizer
from encoders.config import EncoderConfig
from encoders.torch_device import Placement
from fusion.bridge_folder import read_manifest
from fusion.config import BridgeConfig
from fusion.training.config import BridgeShape, RunFolder, TrainingConfig
from fusion.training.dialogue import Dialogue
from fusion.training.losses import Losses, StepLoss
from fusion.training.run import Reporter, Wanted, train_bridge
from serving.deployments.bridge import BridgeDeployment

DECODER = "smollm2-135m-instruct"
PROMPT = "Describe the picture."
PHOTOS = 3
CONFIG = TrainingConfig(
    steps=14,
    batch_size=PHOTOS,
    warmup_steps=2,
    learning_rate=5e-3,
    dropout=0.0,
    held_out=0.0,
    checkpoint_every=7,
    prompts=(PROMPT,),
    shape=BridgeShape(queries=8, layers=2, width=64, heads=4),
)


@pytest.mark.models
@pytest.mark.timeout(600)
async def test_the_loss_falls_and_the_served_bridge_changes_the_greedy_answer(
    models_dir: Path, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    if not (models_dir / DECODER).is_dir():
        pytest.skip(f"{DECODER} is not prepared: run `make models` first")
    (folder / DECODER).symlink_to(models_dir / DECODER)
    tiny_vit(folder / "tiny-vit")
    photos = shared_data / "photos" / "coco"
    with (photos / "captions.jsonl").open(encoding="utf-8") as listed:
        entries = [json.loads(next(listed)) for _ in range(PHOTOS)]
    listing = tmp_path / "pairs.jsonl"
    shortest = [{"image": one["file"], "caption": min(one["captions"], key=len)} for one in entries]
    listing.write_text("\n".join(map(json.dumps, shortest)))

    encoders = EncoderConfig(folder)
    run = RunFolder(tmp_path / "run")
    wanted = Wanted("learned", "tiny-vit", DECODER, listing, photos / "images")
    outcome = await asyncio.to_thread(train_bridge, wanted, CONFIG, encoders, run, Reporter())

    assert outcome.bridge == folder / "learned"
    losses = [entry.loss for entry in Losses(run.losses).read() if isinstance(entry, StepLoss)]
    assert len(losses) == CONFIG.steps
    assert fmean(losses[-3:]) < fmean(losses[:3]) * 0.8

    manifest = read_manifest(folder / "learned")
    assert (manifest.decoder, manifest.decoder_width, manifest.queries) == (DECODER, 576, 8)
    pixels = np.asarray(Image.open(photos / "images" / entries[0]["file"]).convert("RGB"))
    encoder: Any = registry.load("tiny-vit", encoders)
    deployment = BridgeDeployment(BridgeConfig(folder / "learned", DECODER))
    try:
        soft = await deployment.project_image(encoder.tokens([pixels])[0])
    finally:
        await deployment.aclose()
    assert soft.vectors.shape == (1, 8, 576)
    network = load_network(folder / DECODER, "AutoModelForCausalLM", Placement("cpu", "float32"))
    tokenizer = load_tokenizer(folder / DECODER)
    answers = {
        "with": _greedy(network, tokenizer, soft.vectors[0]),
        "without": _greedy(network, tokenizer, np.zeros((0, 576), np.float32)),
    }
    assert answers["with"] != answers["without"]


def _greedy(network: Any, tokenizer: Any, soft: Any) -> str:
    example = Dialogue(tokenizer, [PROMPT], 1).example(0, "x")
    embed = network.get_input_embeddings()
    before, after = (embed(torch.tensor(part)) for part in (example.before, example.after))
    vectors = torch.cat([before, torch.from_numpy(soft), after])[None]
    with torch.no_grad():
        ids = network.generate(
            inputs_embeds=vectors,
            attention_mask=torch.ones(vectors.shape[:2], dtype=torch.long),
            do_sample=False,
            temperature=None,
            top_p=None,
            max_new_tokens=12,
        )
    return str(tokenizer.decode(ids[0], skip_special_tokens=True))
