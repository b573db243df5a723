"""Lists of pictures with captions: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fusion.errors import TrainingRefused
from fusion.training.pairs import Pair, read_pairs, split


def listed(folder: Path, *lines: Any, name: str = "pairs.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"picture")
    return tmp_path


def test_both_spellings_are_read_in_order_and_lines_about_one_picture_are_joined(photos: Path) -> None:
    path = listed(
        photos,
        {"image": "a.jpg", "caption": "A dog.\n On  a beach. "},
        "",
        {"file": "b.jpg", "captions": ["One cat.", " ", "A cat sits."], "license": "ignored"},
        {"image": "a.jpg", "caption": "A wet dog."},
    )
    assert read_pairs(path) == (
        Pair(photos / "a.jpg", ("A dog. On a beach.", "A wet dog.")),
        Pair(photos / "b.jpg", ("One cat.", "A cat sits.")),
    )


def test_paths_may_start_from_another_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("lists")
    path = listed(elsewhere, {"image": "c.jpg", "caption": "Sea."})
    assert read_pairs(path, photos) == (Pair(photos / "c.jpg", ("Sea.",)),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", "Line 2 of the list is no JSON object"),
        ("[1]", "Line 2 of the list is no JSON object"),
        ("[" * 100_000, "Line 2 of the list is no JSON object"),
        ('{"caption": "A dog."}', "Line 2 of the list names no picture"),
        ('{"image": 3, "caption": "A dog."}', "Line 2 of the list names no picture"),
        ('{"image": "a.jpg"}', 'Line 2 of the list has no text "caption"'),
        ('{"image": "a.jpg", "captions": ["A dog.", 3]}', 'Line 2 of the list has no text "caption"'),
        ('{"image": "a.jpg", "captions": []}', "Line 2 of the list has no caption that says anything"),
        ('{"image": "a.jpg", "caption": " "}', "Line 2 of the list has no caption that says anything"),
        (
            '{"image": "gone.jpg", "caption": "A dog."}',
            "1 of 2 pictures are not there, the first is 'gone.jpg'",
        ),
        ("x" * (1 << 20), "Line 2 of the list is longer"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(photos: Path, line: str, words: str) -> None:
    path = listed(photos, {"image": "b.jpg", "caption": "A cat."}, line)
    with pytest.raises(TrainingRefused, match=words):
        read_pairs(path)


def test_an_empty_list_and_a_missing_one_are_refused(photos: Path) -> None:
    with pytest.raises(TrainingRefused, match="has no lines"):
        read_pairs(listed(photos, ""))
    with pytest.raises(TrainingRefused, match="cannot be read"):
        read_pairs(photos / "none.jsonl")


def test_held_out_pictures_are_drawn_by_the_seed_and_never_all() -> None:
    pairs = tuple(Pair(Path(f"{index}.jpg"), ("x",)) for index in range(20))
    training, held_out = split(pairs, 0.25, seed=1)
    assert len(training) == 15
    assert len(held_out) == 5
    assert {*training, *held_out} == set(pairs)
    assert split(pairs, 0.25, seed=1) == (training, held_out)
    assert split(pairs, 0.25, seed=2) != (training, held_out)
    assert split(pairs[:1], 0.9, seed=0) == (pairs[:1], ())
    assert split(pairs, 0.0, seed=0) == (pairs, ())
