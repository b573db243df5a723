"""The demo's sample media."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

pytest.importorskip("skimage", reason="the demo's photos come with the 'demo' extra")

from deploy.cli import app
from deploy.demo.photos import PHOTOS, SIGN_LINES, draw_sign
from deploy.demo.samples import SHOWN_IN_VIDEO, STRETCH_SECONDS, Samples, make_samples
from deploy.demo.video import FRAMES_PER_SECOND, VIDEO_SIZE
from deploy.errors import DeployError

_MEDIA = Path(__file__).resolve().parents[3] / "deploy" / "demo" / "media"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("samples"))


def test_every_picture_opens_and_is_named_after_what_it_shows(samples: Samples) -> None:
    assert set(samples.pictures) == {photo.name for photo in PHOTOS} | {"sign"}
    for path in samples.pictures.values():
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) >= 300


def test_every_photo_states_a_licence_that_lets_the_project_carry_it() -> None:
    assert {photo.licence for photo in PHOTOS} == {"CC0", "public domain"}
    assert all(photo.credit and photo.shows for photo in PHOTOS)


def test_making_again_changes_nothing_and_makes_what_is_missing(tmp_path: Path) -> None:
    first = make_samples(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.video.parent.iterdir()}
    first.video.unlink()
    assert make_samples(tmp_path) == first
    assert set(first.video.parent.iterdir()) == set(before)
    for path, (content, changed) in before.items():
        assert path.read_bytes() == content, "the caches know a video by its bytes"
        assert path == first.video or path.stat().st_mtime_ns == changed


def test_an_interrupted_run_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.demo.samples.assemble_video", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_samples(tmp_path)
    assert not list(tmp_path.rglob("*video*"))
    assert not list(tmp_path.rglob(".*"))


def test_without_the_extra_the_next_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(DeployError, match=r"pip install 'manymodal\[demo\]'"):
        make_samples(tmp_path)


def test_the_video_has_pictures_and_sound_of_the_stated_length(samples: Samples) -> None:
    assert samples.video.stat().st_size < 2_000_000
    seconds = STRETCH_SECONDS * len(SHOWN_IN_VIDEO)
    with av.open(BytesIO(samples.video.read_bytes()), format="mp4") as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height) == VIDEO_SIZE
        assert video.codec_context.name in ("h264", "mpeg4")
        assert sound.codec_context.name == "aac"
        times = [float(frame.time) for frame in container.decode(video)]
        assert times == pytest.approx(
            [n / FRAMES_PER_SECOND for n in range(round(seconds * FRAMES_PER_SECOND))]
        )
        container.seek(0)
        heard = sum(frame.samples for frame in container.decode(sound)) / sound.rate
        assert heard == pytest.approx(seconds, abs=0.1)


def test_each_photo_is_on_screen_in_its_stretch(samples: Samples) -> None:
    with av.open(BytesIO(samples.video.read_bytes()), format="mp4") as container:
        frames = [
            (float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    shown = {}
    for name in SHOWN_IN_VIDEO:
        with Image.open(samples.pictures[name]) as picture:
            shown[name] = np.asarray(ImageOps.fit(picture.convert("RGB"), VIDEO_SIZE), dtype=np.int16)
    for stretch in samples.stretches:
        for time, pixels in frames:
            if stretch.start_seconds <= time < stretch.end_seconds:
                distance = {name: np.abs(photo - pixels).mean() for name, photo in shown.items()}
                assert min(distance, key=distance.__getitem__) == stretch.photo, f"at {time} s"
    assert samples.stretch("cat").photo == "cat"


@pytest.mark.parametrize(
    ("name", "seconds", "most_bytes"), [("speech.flac", 15.0, 300_000), ("narration.ogg", 24.0, 150_000)]
)
def test_the_carried_speech_is_small_and_speaks(name: str, seconds: float, most_bytes: int) -> None:
    path = _MEDIA / name
    assert path.stat().st_size < most_bytes
    with av.open(str(path)) as container:
        blocks = [frame.to_ndarray().astype(np.float64) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(blocks, axis=1)
    assert samples.shape[1] / rate == pytest.approx(seconds, abs=0.1)
    assert np.abs(samples).max() > 0
    assert name in (_MEDIA / "README.md").read_text("utf-8")


def test_the_sign_is_drawn_the_same_each_time() -> None:
    assert draw_sign() == draw_sign()
    assert len(SIGN_LINES) == 4


def test_the_command_writes_them_where_it_is_told_and_says_what_they_show(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    printed = CliRunner().invoke(app, ["samples", str(folder), "--json"])
    assert printed.exit_code == 0, printed.output
    rows = json.loads(printed.output)
    assert {Path(row["path"]) for row in rows} == set(folder.iterdir())
    assert all(row["shows"] and row["bytes"] == Path(row["path"]).stat().st_size for row in rows)
    (folder / "cat.png").write_bytes(b"mine")
    assert "a tabby cat, close up" in CliRunner().invoke(app, ["samples", str(folder)]).output
    assert (folder / "cat.png").read_bytes() == b"mine", "files that lie there are left alone"


def test_the_command_says_so_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = CliRunner().invoke(app, ["samples", str(tmp_path / "file")])
    assert isinstance(failed.exception, DeployError)
    assert "cannot be written" in failed.exception.message
