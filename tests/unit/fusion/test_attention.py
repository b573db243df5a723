"""Attention between modalities: harmless untrained, blind to what is missing, open to inspection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.attention import AttentionConfig, CrossModalFusion
from fusion.errors import FusionError

WIDTHS = (("vision", 12), ("audio", 8), ("text", 6))
CONFIG = AttentionConfig(WIDTHS, inner_width=16, heads=4, gate_width=8)


def trained(seed: int = 5) -> CrossModalFusion:
    """A module with every parameter away from its start, as training leaves it."""
    module = CrossModalFusion(CONFIG)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def tokens_of(counts: dict[str, int], batch: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = dict(WIDTHS)
    return {name: torch.randn((batch, n, widths[name]), generator=generator) for name, n in counts.items()}


some_counts = st.dictionaries(
    st.sampled_from([name for name, _ in WIDTHS]), st.integers(1, 5), min_size=1, max_size=3
)


@settings(deadline=None, max_examples=40)
@given(counts=some_counts, batch=st.integers(1, 3), seed=st.integers(0, 1000))
def test_an_untrained_module_gives_the_tokens_back(counts: dict[str, int], batch: int, seed: int) -> None:
    tokens = tokens_of(counts, batch, seed)
    with torch.no_grad():
        fused = CrossModalFusion(CONFIG)(tokens)
    assert fused.tokens.keys() == tokens.keys()
    for name, part in tokens.items():
        torch.testing.assert_close(fused.tokens[name], part, rtol=2e-7, atol=0)
    for place, (name, _) in enumerate(WIDTHS):
        expected = 1 / len(counts) if name in counts else 0.0
        torch.testing.assert_close(fused.gate[:, place], torch.full((batch,), expected))


def test_two_modules_of_one_config_are_equal_and_the_global_random_numbers_stay() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    one, other = CrossModalFusion(CONFIG), CrossModalFusion(CONFIG)
    assert torch.equal(torch.rand(4), expected)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in one.state_dict())


@settings(deadline=None, max_examples=40)
@given(
    counts=some_counts,
    padding=st.integers(1, 4),
    poison=st.sampled_from([0.0, 7.0, float("nan"), float("inf")]),
)
def test_masked_tokens_change_nothing_whatever_they_hold(
    counts: dict[str, int], padding: int, poison: float
) -> None:
    module, tokens = trained(), tokens_of(counts)
    padded = {
        name: torch.cat([part, torch.full((len(part), padding, part.shape[2]), poison)], dim=1)
        for name, part in tokens.items()
    }
    masks = {
        name: torch.arange(part.shape[1]).expand(len(part), -1) < tokens[name].shape[1]
        for name, part in padded.items()
    }
    with torch.no_grad():
        plain, masked = module(tokens, inspect=True), module(padded, masks, inspect=True)
    torch.testing.assert_close(masked.gate, plain.gate)
    torch.testing.assert_close(masked.shares, plain.shares)
    for name, part in tokens.items():
        torch.testing.assert_close(
            masked.tokens[name][:, : part.shape[1]], plain.tokens[name], rtol=1e-4, atol=1e-5
        )
        assert not masked.tokens[name][:, part.shape[1] :].any()


@settings(deadline=None, max_examples=20)
@given(counts=some_counts)
def test_a_modality_masked_in_a_row_is_as_if_it_had_not_been_given(counts: dict[str, int]) -> None:
    everything = tokens_of({"vision": 3, "audio": 2, "text": 4} | counts, batch=1)
    masks = {
        name: torch.full(part.shape[:2], name in counts, dtype=torch.bool)
        for name, part in everything.items()
    }
    module = trained()
    with torch.no_grad():
        given_alone = module({name: everything[name] for name in counts})
        masked = module(everything, masks)
    torch.testing.assert_close(masked.gate, given_alone.gate)
    for name in counts:
        torch.testing.assert_close(masked.tokens[name], given_alone.tokens[name], rtol=1e-4, atol=1e-5)


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    module, tokens = trained(), tokens_of({"vision": 3, "text": 2}, batch=3)
    with torch.no_grad():
        together = module(tokens)
        alone = [module({name: part[row : row + 1] for name, part in tokens.items()}) for row in range(3)]
    for name in tokens:
        torch.testing.assert_close(
            together.tokens[name], torch.cat([one.tokens[name] for one in alone]), rtol=1e-4, atol=1e-5
        )


def test_a_row_without_anything_gives_zeros_and_no_weights() -> None:
    tokens = tokens_of({"vision": 3, "text": 2})
    masks = {name: torch.tensor([[True], [False]]).expand(-1, part.shape[1]) for name, part in tokens.items()}
    with torch.no_grad():
        fused = trained()(tokens, masks, inspect=True)
    assert not fused.gate[1].any()
    assert not fused.shares[1].any()
    assert all(not part[1].any() for part in fused.tokens.values())
    assert all(part.isfinite().all() for part in fused.tokens.values())


def test_every_modality_attends_to_the_others_and_not_to_itself_before_the_gate() -> None:
    tokens = tokens_of({"vision": 3, "audio": 2, "text": 4})
    with torch.no_grad():
        shares = trained()(tokens, inspect=True).shares
    torch.testing.assert_close(shares.sum(dim=2), torch.ones(2, 3))
    assert not shares.diagonal(dim1=1, dim2=2).any()
    others = shares[:, ~torch.eye(3, dtype=torch.bool)]
    assert (others > 0).all()


def test_what_one_modality_holds_changes_the_others_once_trained() -> None:
    module, tokens = trained(), tokens_of({"vision": 3, "text": 2})
    louder = {**tokens, "text": tokens["text"].flip(-1)}
    with torch.no_grad():
        before, after = module(tokens), module(louder)
    assert not torch.allclose(before.tokens["vision"], after.tokens["vision"])
    assert not torch.allclose(before.gate, after.gate)


def test_the_attention_is_torchs_own_multi_head_attention() -> None:
    """With two modalities the first looks at the second alone: the same weights in ``MultiheadAttention``."""
    module, tokens = trained(), tokens_of({"vision": 3, "text": 5})
    across = module.across
    inward = {name: across.inward[name](across.norm[name](part)) for name, part in tokens.items()}
    query, _, _ = inward["vision"].chunk(3, dim=-1)
    _, key, value = inward["text"].chunk(3, dim=-1)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True, bias=False)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.eye(16).repeat(3, 1))
        theirs.out_proj.weight.copy_(torch.eye(16))
        seen, _ = theirs(query, key, value)
        expected = tokens["vision"] + across.outward["vision"](seen)
        masks = {name: torch.ones(part.shape[:2], dtype=torch.bool) for name, part in tokens.items()}
        got, _ = across(tokens, masks)
    torch.testing.assert_close(got["vision"], expected, rtol=1e-4, atol=1e-5)


def test_it_learns_from_its_harmless_start() -> None:
    """Told to say what the text says, vision's tokens come nearer: gradients reach every stage."""
    module, tokens = CrossModalFusion(CONFIG), tokens_of({"vision": 3, "text": 2}, batch=8)
    wanted = tokens["text"].mean(dim=1, keepdim=True).repeat(1, 3, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = (module(tokens).tokens["vision"] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    untrained = CrossModalFusion(CONFIG).state_dict()
    for stage in ("across.outward.vision", "gate.score", "together.outward.vision", "across.inward.text"):
        assert not torch.equal(module.state_dict()[f"{stage}.weight"], untrained[f"{stage}.weight"])


@pytest.mark.parametrize(
    ("tokens", "masks"),
    [
        ({}, {}),
        ({"smell": torch.zeros(1, 2, 12)}, {}),
        ({"vision": torch.zeros(1, 2, 11)}, {}),
        ({"vision": torch.zeros(2, 12)}, {}),
        ({"vision": torch.zeros(1, 2, 12), "text": torch.zeros(2, 2, 6)}, {}),
        ({"vision": torch.zeros(1, 2, 12)}, {"vision": torch.ones(1, 3, dtype=torch.bool)}),
        ({"vision": torch.zeros(1, 2, 12)}, {"vision": torch.ones(1, 2)}),
        ({"vision": torch.zeros(1, 2, 12)}, {"text": torch.ones(1, 2, dtype=torch.bool)}),
    ],
)
def test_what_does_not_fit_is_refused(
    tokens: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(FusionError):
        CrossModalFusion(CONFIG)(tokens, masks)


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": ()},
        {"widths": (("vision", 4), ("vision", 6))},
        {"widths": (("vision", 0),)},
        {"heads": 3},
        {"heads": 0},
        {"gate_width": 0},
    ],
)
def test_configs_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(FusionError):
        AttentionConfig(**{"widths": WIDTHS, "inner_width": 16, **wrong})
