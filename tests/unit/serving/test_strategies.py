"""Strategies by themselves: what they ask of encoders and bridge, and what they attach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from encoders.types import (
    EncodedFrame,
    EncodedVideo,
    FrameSampling,
    MediaInfo,
    MediaKind,
)
from fusion.config import NativeConfig
from fusion.errors import ModalityNotBridged, PromptTooLong
from fusion.picture_cost import PictureCost
from fusion.prompt import PromptComposer
from fusion.types import FusedBlock, PerceivedMedium, SoftTokens
from serving.cache_salt import cache_salt
from serving.errors import LimitExceeded
from serving.perceive_options import AS_SET
from serving.perceiver import Perceived, Perceiver
from serving.services import NativeMedium, PromptEmbeddings
from serving.strategies.native import NativeStrategy
from serving.strategies.placing import content_parts
from serving.strategies.qformer import QFormerStrategy
from serving.strategies.strategy import FusedMedia, PlacedBlock, Wanted
from storage.types import MediaRef

SECRET = b"0123456789abcdef"
WIDE = MediaInfo(MediaKind.IMAGE, "image/png", 1024, 512)
FILM = MediaInfo(MediaKind.VIDEO, "video/mp4", 640, 640, 8.0)


@dataclass
class FakeSoftMedia:
    """Only what a strategy reads before it perceives."""

    tokens: int = 4
    hears: bool = False
    sees: bool = True
    pictures: int | None = None


def words(text: str) -> int:
    return len(text.split())


def ref(sha: str = "ab", tenant: str = "t", kind: str = "image/png") -> MediaRef:
    return MediaRef("file-1", tenant, sha * 32, 3, kind)


def picture(media: MediaRef | None = None, detail: str = "auto") -> Perceived:
    return Perceived(PerceivedMedium("file-1", WIDE), {}, media or ref(), detail)


def film(frames: int = 8, media: MediaRef | None = None) -> Perceived:
    seen = tuple(EncodedFrame(float(i), "uniform", (), np.zeros(2, np.float32)) for i in range(frames))
    medium = PerceivedMedium("file-2", FILM, video=EncodedVideo(float(frames), seen))
    return Perceived(medium, {}, media or ref(kind="video/mp4"), sampling=FrameSampling())


def native(images: int = 16, videos: int = 0, cost: PictureCost | None = None) -> NativeStrategy:
    limits = {MediaKind.IMAGE: images, MediaKind.VIDEO: videos}
    # One token for each square of 32 pixels.
    config = NativeConfig(limits, cost or PictureCost(0, 1, 32))
    return NativeStrategy(cast(Perceiver, None), PromptComposer(words, 500), config, SECRET)


def media_of(fused: FusedMedia) -> list[NativeMedium]:
    assert all(isinstance(one, NativeMedium) for one in fused.attachments)
    return cast(list[NativeMedium], list(fused.attachments))


def id_of(item: Perceived, strategy: NativeStrategy | None = None) -> str:
    (medium,) = media_of((strategy or native()).fuse([item], 5000, ""))
    return medium.content_id


def test_everything_that_changes_what_is_seen_is_in_the_content_id() -> None:
    ids = {
        id_of(picture()),
        id_of(picture(ref("cd"))),
        id_of(picture(ref(tenant="other"))),
        id_of(picture(detail="low")),
        id_of(replace(film(1), media=ref(kind="video/mp4"))),
        id_of(film(8), native(videos=1)),
        id_of(film(7), native(videos=1)),
        id_of(replace(film(8), sampling=FrameSampling(method="scene")), native(videos=1)),
    }
    assert len(ids) == 8
    assert id_of(picture()) == id_of(picture())
    # Where the file came from does not matter: the same bytes are the same picture.
    assert id_of(picture(MediaRef("file-9", "t", "ab" * 32, 3, "image/png"))) == id_of(picture())


def test_pictures_that_do_not_fit_are_shown_smaller() -> None:
    strategy = native()
    large = strategy.fuse([picture()], 1000, "")
    assert (media_of(large)[0].max_side, large.blocks[0].tokens) == (1024, 32 * 16 + 1)
    small = strategy.fuse([picture()], 300, "")
    assert (media_of(small)[0].max_side, small.blocks[0].tokens) == (512, 16 * 8 + 1)
    with pytest.raises(PromptTooLong):
        strategy.fuse([picture()], 20, "")


def test_frames_that_do_not_fit_are_left_out_and_those_that_stand_are_told_by_number() -> None:
    fused = native(cost=PictureCost(100)).fuse([film()], 400, "")
    (block,) = fused.blocks
    assert isinstance(block, PlacedBlock)
    assert block.pieces == (1, 4, 6)
    assert block.cut == ("5 of 8 frames of the video",)
    assert [one.times_seconds for one in media_of(fused)] == [(1.0,), (4.0,), (6.0,)]


def test_a_film_of_fewer_frames_says_which() -> None:
    fused = native(videos=1, cost=PictureCost(100, frames_together=2)).fuse([film()], 220, "")
    (medium,) = media_of(fused)
    assert medium.kind is MediaKind.VIDEO
    # Three frames take as much as four: one is shown twice. So there is room for three halves, and one more.
    assert medium.times_seconds == (1.0, 4.0, 6.0)
    assert fused.blocks[0].tokens >= 2 * 100
    assert medium.sampling is not None
    assert not medium.sampling.drop_near_duplicates


def test_videos_share_the_pictures_that_the_decoder_takes() -> None:
    fused = native(images=5).fuse([film(), picture(), film(8, ref("cd", kind="video/mp4"))], 50_000, "")
    assert [one.times_seconds for one in media_of(fused)] == [(2.0,), (6.0,), (), (2.0,), (6.0,)]
    first = fused.blocks[0]
    assert isinstance(first, PlacedBlock)
    assert first.pieces == (2, 6)
    assert first.cut == ("6 of 8 frames of the video",)
    with pytest.raises(LimitExceeded, match="at most 2 pictures"):
        native(images=2).fuse([film(), picture(), film()], 50_000, "")
    with pytest.raises(LimitExceeded, match=r"2 media of the kind 'video'.*at most 1"):
        native(videos=1).fuse([film(), film()], 50_000, "")


def soft(*shape: int, times: tuple[float, ...] = ()) -> SoftTokens:
    vectors = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return SoftTokens(vectors, "m", times, ("uniform",) * len(times))


def qformer(**settings: Any) -> QFormerStrategy:
    composer, media = PromptComposer(words, 500), FakeSoftMedia(**settings)
    return QFormerStrategy(cast(Perceiver, None), cast(Any, media), composer, cast(Any, None), 1000)


def test_views_of_a_picture_are_one_attachment_and_frames_one_each() -> None:
    views = Perceived(PerceivedMedium("p", WIDE, soft=soft(5, 4, 8)))
    frames = Perceived(PerceivedMedium("v", FILM, soft=soft(3, 4, 8, times=(0.0, 1.0, 2.0))))
    fused = qformer().fuse([views, frames], 500, "")
    attached = cast(list[PromptEmbeddings], list(fused.attachments))
    assert [one.vectors.shape for one in attached] == [(20, 8), (4, 8), (4, 8), (4, 8)]
    assert np.array_equal(attached[0].vectors.ravel(), np.arange(160, dtype=np.float32))
    assert np.array_equal(attached[2].vectors.ravel(), np.arange(32, 64, dtype=np.float32))
    assert {one.decoder for one in attached} == {"m"}


def test_in_the_places_of_pictures_each_stands_alone_and_no_more_than_there_are() -> None:
    view = Perceived(PerceivedMedium("p", WIDE, soft=soft(1, 4, 8)))
    frames = Perceived(PerceivedMedium("v", FILM, soft=soft(8, 4, 8, times=tuple(map(float, range(8))))))
    fused = qformer(pictures=3).fuse([view, frames], 500, "")
    attached = cast(list[PromptEmbeddings], list(fused.attachments))
    assert [one.vectors.shape for one in attached] == [(4, 8)] * 3
    assert [one.vectors[0, 0] for one in attached] == [0.0, 2 * 32, 6 * 32]
    _, block = fused.blocks
    assert isinstance(block, PlacedBlock)
    assert (block.pieces, block.cut) == ((2, 6), ("6 of 8 frames of the video",))
    assert [part for part in block.parts if isinstance(part, str)][-1] == "t=6.0s"
    with pytest.raises(LimitExceeded, match=r"2 pictures and videos.*at most 1 pictures"):
        qformer(pictures=1).fuse([view, frames], 500, "")


async def test_a_bridge_without_eyes_says_so() -> None:
    wanted = Wanted(ref(), WIDE, "auto", AS_SET)
    with pytest.raises(ModalityNotBridged):
        await qformer(sees=False, hears=True).perceive(wanted)


def test_a_silent_recording_without_stretches_is_only_told() -> None:
    quiet = MediaInfo(MediaKind.AUDIO, "audio/wav", duration_seconds=2.0, has_audio=True)
    fused = qformer().fuse([Perceived(PerceivedMedium("a", quiet, soft=soft(0, 4, 8)))], 500, "")
    assert fused.attachments == ()
    assert content_parts([*fused.blocks, "Hm?"]) == "The recording is 2.0 seconds long.\n\nHm?"


def test_texts_side_by_side_become_one_part() -> None:
    block = PlacedBlock(("Picture 1:", 0, "said"), 9, (0,))
    assert content_parts(["A", block, "", "B"]) == [
        {"type": "text", "text": "A\n\nPicture 1:"},
        {"type": "attachment", "index": 0},
        {"type": "text", "text": "said\n\nB"},
    ]
    assert content_parts(["A", FusedBlock("ignored", 1)]) == "A"


def test_salts_differ_by_tenant_and_secret() -> None:
    assert cache_salt(SECRET, "a") == cache_salt(SECRET, "a")
    assert len({cache_salt(SECRET, "a"), cache_salt(SECRET, "b"), cache_salt(SECRET * 2, "a")}) == 3
