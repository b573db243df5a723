"""The Q-Former: transformers' numbers, padding that changes nothing, several encoders' tokens at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from bridges import SPEECH, TEXT, VISION, bridge_manifest, random_network
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.bridge_folder import BridgeManifest


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_one_branch_is_transformers_qformer_and_projection():
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    manifest = bridge_manifest({"vision": VISION})
    network = random_network(manifest)
    assert not network.inputs  # the encoder's width is the Q-Former's own
    theirs = Blip2QFormerModel(Blip2QFormerConfig(**manifest.qformer)).eval()
    theirs.load_state_dict(network.qformer.state_dict())
    tokens = draw(3, 9, 48)
    seen = theirs(
        query_embeds=network.query_tokens.expand(3, -1, -1),
        encoder_hidden_states=tokens,
        encoder_attention_mask=torch.ones(3, 9, dtype=torch.long),
    ).last_hidden_state
    expected = torch.nn.functional.linear(
        seen, network.language_projection.weight, network.language_projection.bias
    )
    given = network({"vision": tokens})
    assert given.shape == (3, 4, 32)
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(given[0], given[1], atol=1e-2)  # it does look at what it is given


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    noise=st.integers(0, 99),
)
@torch.no_grad()
def test_padding_changes_nothing_whatever_it_holds(lengths: list[int], padding: int, noise: int):
    network = random_network(bridge_manifest({"vision": VISION}))
    length = max(lengths) + padding
    tokens = draw(len(lengths), length, 48, seed=noise) * 5
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    together = network({"vision": tokens}, {"vision": mask})
    for row, real in enumerate(lengths):
        alone = network({"vision": tokens[row : row + 1, :real]})
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_branches_are_projected_and_looked_at_together():
    network = random_network(bridge_manifest({"vision": VISION, "speech": SPEECH}))
    seen, heard = draw(2, 5, 48), draw(2, 7, 40, seed=1)
    one = bridge_manifest({"vision": VISION})
    plain = random_network(one)
    plain.load_state_dict(
        {key: value for key, value in network.state_dict().items() if not key.startswith("inputs.")}
    )
    projected = torch.cat([network.inputs["vision"](seen), network.inputs["speech"](heard)], dim=1)
    torch.testing.assert_close(
        network({"vision": seen, "speech": heard}), plain({"vision": projected}), atol=1e-5, rtol=1e-4
    )
    # A branch that is masked throughout is as good as one that is not there.
    torch.testing.assert_close(
        network({"vision": seen, "speech": heard}, {"speech": torch.zeros(2, 7)}),
        network({"vision": seen}),
        atol=1e-5,
        rtol=1e-4,
    )


@torch.no_grad()
def test_attention_between_branches_is_harmless_until_it_is_trained():
    plain = bridge_manifest({"vision": VISION, "speech": SPEECH})
    attending = replace(plain, attention={"inner_width": 16, "heads": 2, "gate_width": 8})
    network, without = _untrained(attending), _untrained(plain)
    without.load_state_dict(
        {key: value for key, value in network.state_dict().items() if not key.startswith("attention.")}
    )
    tokens = {"vision": draw(2, 5, 48), "speech": draw(2, 7, 40, seed=1)}
    torch.testing.assert_close(network(tokens), without(tokens), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        for parameter in network.attention.parameters():
            parameter.add_(0.3)
    assert not torch.allclose(network(tokens), without(tokens), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("gone", ["vision", "speech", "text"])
def test_a_branch_that_is_not_there_counts_as_one_that_is_masked(gone: str):
    branches = {"vision": VISION, "speech": SPEECH, "text": TEXT}
    attending = bridge_manifest(branches, attention={"inner_width": 16, "heads": 2, "gate_width": 8})
    network = random_network(attending)
    tokens = {name: draw(2, 5 + seed, branch.width, seed=seed) for seed, (name, branch) in
              enumerate(branches.items())}  # fmt: skip
    hidden = {gone: torch.zeros(tokens[gone].shape[:2])}
    without = {name: given for name, given in tokens.items() if name != gone}
    torch.testing.assert_close(network(tokens, hidden), network(without), atol=1e-5, rtol=1e-4)
    # Down to a single one: what it was trained to do with tokens is done to those of one branch, too.
    alone = next(iter(without))
    others = {name: torch.zeros(given.shape[:2]) for name, given in tokens.items() if name != alone}
    torch.testing.assert_close(network(tokens, others), network({alone: tokens[alone]}), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_text_is_a_branch_like_others_and_each_branch_is_heeded():
    branches = {"vision": VISION, "speech": SPEECH, "text": TEXT}
    network = random_network(bridge_manifest(branches))
    tokens = {name: draw(1, 6, branch.width) for name, branch in branches.items()}
    together = network(tokens)
    assert together.shape == (1, 4, 32)
    for name, branch in branches.items():
        changed = network({**tokens, name: draw(1, 6, branch.width, seed=9)})
        assert not torch.allclose(changed, together, atol=1e-2), name
        assert not torch.allclose(network({name: tokens[name]}), together, atol=1e-2), name


def _untrained(manifest: BridgeManifest) -> torch.nn.Module:
    from fusion.qformer import QFormer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = QFormer(manifest).eval()
        with torch.no_grad():
            network.query_tokens.normal_()
        return network


def test_one_branch_cannot_attend_to_others():
    with pytest.raises(ValueError, match="no other"):
        bridge_manifest({"vision": VISION}, attention={"inner_width": 16})
