"""The 8-bit graph says nearly what the float network says."""

from __future__ import annotations

import numpy as np
import pytest

SIDE, MEAN, DEVIATION = 65, 0.498, 0.502


def test_graph_follows_the_float_network() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("onnx")
    import onnxruntime
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    from encoders.vision.integer_network import integer_graph

    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0", num_classes=12, image_size=SIDE).train()
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (16, 3, 3, 3), dtype=np.uint8)
    pictures = np.kron(blocks, np.ones((1, 22, 22, 1), dtype=np.uint8))[:, :SIDE, :SIDE]
    scaled = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - MEAN) / DEVIATION
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # plain averages, so that one pass gives the statistics
    with torch.no_grad():
        network(scaled)
        expected = torch.softmax(network.eval()(scaled), dim=1).numpy()

    graph = integer_graph(network, SIDE, MEAN, DEVIATION)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": pictures})[0]
    assert found.dtype == np.float32
    assert found.shape == (16, 12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    logs = np.log(np.stack([expected, found]))
    logs -= logs.mean(axis=1, keepdims=True)
    # Untrained weights tell pictures apart by little more than rounding; seen: 0.75. The trained network is held
    # against its float weights in tests/contract/models/test_starter_vision.py.
    assert np.corrcoef(logs.reshape(2, -1))[0, 1] > 0.6
    alone = np.concatenate([session.run(None, {"pixels": one[None]})[0] for one in pictures])
    np.testing.assert_allclose(alone, found, atol=1e-6)
