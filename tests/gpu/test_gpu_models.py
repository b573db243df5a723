"""Hub vision models on a GPU: the answers of the CPU, in bfloat16, from captured graphs, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import photo, tiny_clip, tiny_embedding_gemma, tiny_siglip, tiny_vit

from encoders.models import clip, embedding_gemma, siglip, vit
from encoders.torch_device import Placement, placement
from encoders.types import Quality

FAMILIES = {
    "clip": (tiny_clip, clip.build),
    "siglip": (tiny_siglip, siglip.build),
    "vit": (tiny_vit, vit.build),
    "gemma": (tiny_embedding_gemma, embedding_gemma.build),
}
IMAGES = [photo(30 + 17 * seed, 120 - 9 * seed, seed) for seed in range(9)]
CPU = Placement("cpu", "float32")


@pytest.fixture(autouse=True)
def _gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch sees no CUDA device on this machine")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, (make, _) in FAMILIES.items():
        made[name] = make(tmp_path_factory.mktemp(name))
    return made


def _vectors(model: Any, quality: Quality = Quality.FAST) -> np.ndarray:
    return np.stack([one.embedding for one in model.encode(IMAGES, quality)])


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quality", list(Quality))
def test_float32_on_the_gpu_equals_the_cpu(family: str, quality: Quality, folders: Any) -> None:
    build = FAMILIES[family][1]
    there, here = build(folders[family], Placement("cuda", "float32")), build(folders[family], CPU)
    np.testing.assert_allclose(_vectors(there, quality), _vectors(here, quality), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_says_nearly_the_same(family: str, folders: Any) -> None:
    build = FAMILIES[family][1]
    chosen = placement("auto")
    there, here = _vectors(build(folders[family], chosen)), _vectors(build(folders[family], CPU))
    assert np.isfinite(there).all()
    assert np.median((there * here).sum(1)) > 0.98


@pytest.mark.gpu
def test_captured_graphs_give_what_the_plain_network_gives(folders: Any) -> None:
    graphs = clip.build(folders["clip"], Placement("cuda", "bfloat16", compiled=True))
    plain = clip.build(folders["clip"], Placement("cuda", "bfloat16"))
    for count in (1, 3, 9, 2):  # each padded to a captured size; the last replays an earlier one
        ours = np.stack([one.embedding for one in graphs.encode(IMAGES[:count])])
        known = np.stack([one.embedding for one in plain.encode(IMAGES[:count])])
        assert ((ours * known).sum(1) > 0.99).all()


@pytest.mark.gpu
def test_prepared_on_many_threads_arrives_whole(folders: Any) -> None:
    """Bytes copied on side streams while another batch runs are there when they are read."""
    from concurrent.futures import ThreadPoolExecutor

    model = siglip.build(folders["siglip"], Placement("cuda", "float32"))
    alone = _vectors(model)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            prepared = [
                one for part in threads.map(model.vision.prepare, [[i] for i in IMAGES]) for one in part
            ]
            ran = np.stack([one.embedding for one in model.vision.run(prepared)])
            np.testing.assert_allclose(ran, alone, atol=1e-4)
