"""Hub vision families against transformers itself, on small random checkpoints; nothing is downloaded."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import MAKERS, photo, tiny_vit

from encoders import registry
from encoders.config import DecodeLimits, EncoderConfig
from encoders.decoding.image import decode_image
from encoders.decoding.sniff import sniff
from encoders.errors import ModelUnavailable
from encoders.models import clip, siglip, vit
from encoders.text.encoder import TextEncoder, text_of
from encoders.torch_device import Placement
from encoders.types import ModelSpec, Quality
from encoders.vision.encoder import TokenEncoder, VisionEncoder, vision_of
from encoders.vision.tiles import TilePlan, combine_tokens, combine_vectors, tile_boxes

CPU = Placement("cpu", "float32")
BUILDERS = {"clip": clip.build, "siglip": siglip.build, "siglip2": siglip.build, "vit": vit.build}
JOINT = ("clip", "siglip", "siglip2")
SQUARE = ("clip", "siglip", "vit")
LONG = " ".join(["two dogs run along the beach and a cat sits on the sofa"] * 12)
TEXTS = (
    "a cat",
    "Two DOGS, run along the beach!",
    "",
    "a photo of many people  in front of an old station",
    LONG,
)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with one small checkpoint of each family."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, make in MAKERS.items():
        (folder / name).mkdir()
        make(folder / name)
    return folder


@pytest.fixture(scope="session")
def built(checkpoints: Path) -> Callable[[str], Any]:
    """Our model of a family."""
    models: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in models:
            models[family] = BUILDERS[family](checkpoints / family, CPU)
        return models[family]

    return get


class Reference:
    """transformers' own image processor, tokenizer and model on the same files."""

    def __init__(self, directory: Path, family: str) -> None:
        import transformers
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
        from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

        processor, model = {
            "clip": (CLIPImageProcessorPil, "CLIPModel"),
            "siglip": (SiglipImageProcessorPil, "SiglipModel"),
            "siglip2": (Siglip2ImageProcessorPil, "Siglip2Model"),
            "vit": (ViTImageProcessorPil, "ViTForImageClassification"),
        }[family]
        self.family = family
        self.processor = processor.from_pretrained(directory)
        self.model = getattr(transformers, model).from_pretrained(directory).eval()
        self.tokenizer = None
        if family != "vit":
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        fixed = {"padding": "max_length", "max_length": 64}
        self.padding: dict[str, Any] = {"padding": True} if family == "clip" else fixed

    def look(self, image: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """The pooled unit vector and the patch tokens of one picture."""
        import torch

        inputs = self.processor(image, return_tensors="pt", **options)
        with torch.no_grad():
            if self.family == "vit":
                hidden = self.model.vit(**inputs).last_hidden_state
                return _unit(hidden[0, 0].numpy()), hidden[0, 1:].numpy()
            seen = self.model.get_image_features(**inputs)
        tokens = seen.last_hidden_state[0]
        if self.family == "clip":
            tokens = tokens[1:]
        if self.family == "siglip2":
            tokens = tokens[: int(inputs["pixel_attention_mask"].sum())]
        return _unit(seen.pooler_output[0].numpy()), tokens.numpy()

    def read(self, text: str) -> np.ndarray:
        """The unit vector of one text that fits the tower."""
        import torch

        inputs = self.tokenizer([text], return_tensors="pt", **self.padding)
        with torch.no_grad():
            return _unit(self.model.get_text_features(**inputs).pooler_output[0].numpy())


@pytest.fixture(scope="session")
def reference(checkpoints: Path) -> Callable[[str], Reference]:
    """transformers on the same checkpoint."""
    made: dict[str, Reference] = {}

    def get(family: str) -> Reference:
        if family not in made:
            made[family] = Reference(checkpoints / family, family)
        return made[family]

    return get


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal to 1e-5 and by cosine."""
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert float(ours @ theirs) > 0.99999


def pictures() -> list[np.ndarray]:
    sizes = [(32, 32), (100, 40), (41, 97), (8, 8), (640, 480), (31, 333), (224, 224)]
    return [photo(width, height, seed) for seed, (width, height) in enumerate(sizes)]


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_embeddings_equal_transformers(family: str, count: int, built: Any, reference: Any) -> None:
    images = pictures()[:count]
    ours = built(family).encode(images)
    assert [(one.width, one.height) for one in ours] == [(i.shape[1], i.shape[0]) for i in images]
    for one, image in zip(ours, images, strict=True):
        assert one.embedding.dtype == np.float32
        assert_same(one.embedding, reference(family).look(image)[0])


def test_the_pictures_can_be_told_apart(built: Any) -> None:
    """Else the comparisons above would prove nothing."""
    for family in BUILDERS:
        vectors = np.stack([one.embedding for one in built(family).encode(pictures())])
        assert np.median(vectors @ vectors.T) < 0.98, family


@pytest.mark.parametrize("family", BUILDERS)
def test_batch_size_and_order_do_not_matter(family: str, built: Any) -> None:
    images = [photo(30 + 7 * seed, 90 - 5 * seed, seed) for seed in range(12)]  # more than one pass
    model = built(family)
    together = np.stack([one.embedding for one in model.encode(images)])
    alone = np.stack([model.encode([image])[0].embedding for image in images])
    backwards = np.stack([one.embedding for one in model.encode(images[::-1])])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, backwards, atol=1e-5)


@pytest.mark.parametrize("family", BUILDERS)
def test_nothing_gives_nothing(family: str, built: Any) -> None:
    model = built(family)
    assert model.encode([]) == ()
    assert model.tokens([]) == ()
    if family in JOINT:
        empty = model.embed(())
        assert empty.vectors.shape == (0, 24 if family == "clip" else 32)
        assert empty.token_counts == empty.chunk_counts == ()


@pytest.mark.parametrize("family", BUILDERS)
def test_the_three_phases_give_what_encode_gives(family: str, built: Any) -> None:
    side = vision_of(built(family))
    assert isinstance(side, VisionEncoder)
    assert isinstance(side, TokenEncoder)
    images = pictures()
    prepared = [one for image in images for one in side.prepare([image])]
    assert len({side.bucket(one) for one in prepared}) == 1
    assert all(side.cost(one) == 32 * 32 for one in prepared)
    for direct, phased in zip(side.encode(images), side.run(prepared), strict=True):
        np.testing.assert_allclose(direct.embedding, phased.embedding, atol=1e-6)
    assert side.prepare([]) == side.run([]) == []


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "1"])
@pytest.mark.parametrize("family", BUILDERS)
def test_every_image_mode(family: str, mode: str, built: Any, reference: Any, tmp_path: Path) -> None:
    """A file of any mode, decoded by the platform, embeds as transformers embeds the same upright RGB picture."""
    image = Image.fromarray(photo(75, 50, 3))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    (image if mode == "I;16" else image.convert(mode)).save(path)
    data = path.read_bytes()
    pixels, _, _ = decode_image(io.BytesIO(data), sniff(data), DecodeLimits(), None)
    ours = built(family).encode([pixels])[0]
    assert_same(ours.embedding, reference(family).look(Image.fromarray(pixels))[0])


@pytest.mark.parametrize("family", SQUARE)
def test_crops_equal_transformers(family: str, built: Any, reference: Any) -> None:
    """Best quality and tokens: the whole picture and each tile, exactly as transformers sees that crop."""
    image, plan = photo(150, 90, 5), TilePlan(max_tiles=6)
    boxes = tile_boxes(150, 90, plan, 32)
    assert len(boxes) == 6
    crops = [image] + [image[top:bottom, left:right] for left, top, right, bottom in boxes]
    theirs = [reference(family).look(np.ascontiguousarray(crop)) for crop in crops]

    best = built(family).encode([image, photo(20, 20)], Quality.BEST)[0]
    assert_same(best.embedding, combine_vectors(np.stack([vector for vector, _ in theirs])))

    tokens = built(family).tokens([image], plan)[0]
    assert tokens.boxes == boxes
    assert tokens.tokens.shape == (7, 16, 32)
    np.testing.assert_allclose(tokens.tokens, np.stack([found for _, found in theirs]), atol=1e-4)
    assert combine_tokens(tokens, "concat").shape == (7 * 16, 32)
    assert combine_tokens(tokens, "mean").shape == combine_tokens(tokens, "attention").shape == (16, 32)


@pytest.mark.parametrize("family", BUILDERS)
def test_tokens_of_whole_pictures_equal_transformers(family: str, built: Any, reference: Any) -> None:
    for image in pictures()[:4]:
        ours = built(family).tokens([image])[0]
        assert ours.boxes == ()
        np.testing.assert_allclose(ours.tokens[0], reference(family).look(image)[1], atol=1e-4)


def test_best_quality_shares_the_weights_and_mixes_with_fast(built: Any) -> None:
    model = built("clip")
    images = [photo(200, 100, 1), photo(20, 20, 2)]
    best = model.vision.at(Quality.BEST)
    assert best._look is model.vision._look
    at_once = best.run(best.prepare(images))
    by_one = [best.encode([image])[0] for image in images]
    for one, same in zip(at_once, by_one, strict=True):
        np.testing.assert_allclose(one.embedding, same.embedding, atol=1e-6)
    fast = model.encode(images)
    assert not np.allclose(fast[0].embedding, at_once[0].embedding, atol=1e-3)
    np.testing.assert_allclose(fast[1].embedding, at_once[1].embedding, atol=1e-6)  # too small for tiles


def test_naflex_spends_more_patches_at_best_and_takes_no_tiles(built: Any, reference: Any) -> None:
    image = photo(150, 90, 5)
    best = built("siglip2").encode([image], Quality.BEST)[0]
    assert_same(best.embedding, reference("siglip2").look(image, max_num_patches=64)[0])
    with pytest.raises(ValueError, match="best quality"):
        built("siglip2").tokens([image], TilePlan())


@pytest.mark.parametrize("family", JOINT)
def test_texts_equal_transformers(family: str, built: Any, reference: Any) -> None:
    model = built(family)
    short = TEXTS[:-1]
    ours = model.embed(short)
    assert ours.chunk_counts == (1,) * len(short)
    for vector, text in zip(ours.vectors, short, strict=True):
        assert_same(vector, reference(family).read(text))
    alone = np.concatenate([model.embed((text,)).vectors for text in TEXTS])
    np.testing.assert_allclose(model.embed(TEXTS).vectors, alone, atol=1e-5)
    side = text_of(model)
    assert isinstance(side, TextEncoder)
    parts = [side.run(side.prepare([text]))[0] for text in TEXTS]
    np.testing.assert_allclose(np.stack([part.vector for part in parts]), alone, atol=1e-6)
    assert side.prepare([]) == side.run([]) == []


@pytest.mark.parametrize("family", JOINT)
def test_a_special_token_spelt_in_a_text_does_not_end_it(family: str, built: Any) -> None:
    model = built(family)
    end = model.text._tokenizer.eos_token
    vectors = model.embed(("a cat", f"a cat{end} and two dogs", f"a cat{end} and a red house")).vectors
    assert float(vectors[1] @ vectors[0]) < 0.9999
    assert float(vectors[1] @ vectors[2]) < 0.9999


@pytest.mark.parametrize("family", JOINT)
def test_long_texts_are_read_in_chunks_and_it_is_said(family: str, built: Any, reference: Any) -> None:
    """By hand: cut the token ids at the tower's length, embed each piece, average by tokens."""
    import torch

    known, model = reference(family), built(family)
    most = 77 if family == "clip" else 64
    ids = known.tokenizer(LONG, verbose=False)["input_ids"]
    before, after = {"clip": (1, 1), "siglip": (0, 1), "siglip2": (0, 0)}[family]
    content = ids[before : len(ids) - after]
    room = most - before - after
    count = -(-len(content) // room)
    bounds = [len(content) * index // count for index in range(count + 1)]
    pieces = [content[start:stop] for start, stop in itertools.pairwise(bounds)]
    vectors = []
    for piece in pieces:
        row = ids[:before] + piece + ids[len(ids) - after :]
        if family != "clip":
            padding = [known.tokenizer.pad_token_id] * (most - len(row))
            row = padding + row if known.tokenizer.padding_side == "left" else row + padding
        with torch.no_grad():
            vectors.append(_unit(known.model.get_text_features(torch.tensor([row])).pooler_output[0].numpy()))
    ours = model.embed(("short", LONG))
    assert ours.chunk_counts == (1, len(pieces))
    assert len(pieces) > 2
    assert ours.token_counts[1] == len(ids)
    weights = np.array([len(piece) for piece in pieces]) / len(content)
    assert_same(ours.vectors[1], _unit(weights @ np.stack(vectors)))


@pytest.mark.parametrize("family", JOINT)
def test_zero_shot_probabilities_are_the_models_own(family: str, built: Any, reference: Any) -> None:
    import torch

    model, known = built(family), reference(family)
    image, texts = photo(60, 60, 4), TEXTS[:4]
    pictured = model.encode([image])[0].embedding[None]
    inputs = dict(known.processor(image, return_tensors="pt"))
    inputs |= known.tokenizer(list(texts), return_tensors="pt", **known.padding)
    with torch.no_grad():
        theirs = known.model(**inputs).logits_per_image
    ours = model.logits(pictured, model.embed(texts).vectors)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-3)
    expected = theirs.softmax(-1) if family == "clip" else theirs.sigmoid()
    np.testing.assert_allclose(
        model.probabilities(pictured, model.embed(texts).vectors), expected.numpy(), atol=1e-4
    )


def test_only_matryoshka_models_are_cut(built: Any) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        built("clip").embed(("a cat",), dimensions=8)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_folder_of_the_users_own_is_adopted(
    family: str, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tuple(f"thing {index}" for index in range(12))  # not a thousand: this is about being adopted
    monkeypatch.setattr("encoders.vision.joint.class_names", lambda: names)
    spec = registry.find(family, checkpoints)
    assert isinstance(spec, ModelSpec)
    assert spec.task == "vision"
    assert spec.dimensions == {"clip": 24}.get(family, 32)
    assert len(spec.revision) == 12
    assert spec.memory_bytes > 512 << 20
    model = registry.load(family, EncoderConfig(checkpoints, device="cpu"))
    (one,) = model.encode([photo(40, 40)])
    assert one.embedding.shape == (spec.dimensions,)
    chances = [label.probability for label in one.labels]
    assert len(chances) == (5 if family == "vit" else 10)
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1 + 1e-5


def test_label_vectors_are_kept_and_not_believed_for_other_weights(checkpoints: Path, built: Any) -> None:
    from dataclasses import replace

    from encoders.vision.joint import cached_label_vectors

    spec, model, names = registry.find("clip", checkpoints), built("clip"), ("cat", "dog")
    first = cached_label_vectors(model, spec, names, checkpoints)
    np.testing.assert_allclose(
        first, model.embed(("a photo of a cat", "a photo of a dog")).vectors, atol=1e-6
    )
    files = set((checkpoints / ".label-vectors").iterdir())
    assert (cached_label_vectors(model, spec, names, checkpoints) == first).all()
    assert set((checkpoints / ".label-vectors").iterdir()) == files
    cached_label_vectors(model, replace(spec, revision="other"), names, checkpoints)
    assert len(set((checkpoints / ".label-vectors").iterdir())) == len(files) + 1
    for path in files:
        path.write_bytes(b"damaged")
    np.testing.assert_allclose(cached_label_vectors(model, spec, names, checkpoints), first, atol=1e-6)


def test_a_vit_without_a_head_has_no_labels(tmp_path: Path) -> None:
    (one,) = vit.build(tiny_vit(tmp_path, labels=0), CPU).encode([photo(40, 40)])
    assert one.labels == ()
    assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)


def test_missing_weights_are_an_error_not_random_numbers(checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(checkpoints / "clip", broken)
    weights = load_file(broken / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        clip.build(broken, CPU)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        clip.build(broken, CPU)


def test_declared_memory_is_enough_for_the_parameters() -> None:
    for spec in (*clip.SPECS, *siglip.SPECS, *vit.SPECS):
        assert spec.memory_bytes > 800 << 20
        assert spec.hub_id
        assert spec.licence in ("MIT", "Apache-2.0")
