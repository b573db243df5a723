"""Bodies for vLLM: attachments in their places, placeholders of texts broken up, errors before vLLM sees them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from fake_pixels import FakePixels, native
from hypothesis import given
from hypothesis import strategies as st

from encoders.types import MediaKind
from fusion.errors import BridgeMismatch
from serving.config import SoftTokenForm
from serving.engines import media_connector
from serving.engines.attachments import AttachmentWriter
from serving.engines.native_media import NativeMedia
from serving.engines.placeholders import PlaceholderBreaker
from serving.engines.soft_prompts import SoftPrompts
from serving.errors import AttachmentRefused, InvalidRequest
from serving.services import Attachment, PromptEmbeddings

WIDTH = 4
WORDS = ("<image>", "<|image_pad|>", "<prompt_embeds>")


def writer(
    form: SoftTokenForm | None = "prompt_embeds",
    limits: Mapping[MediaKind, int] = {MediaKind.IMAGE: 2},
    words: tuple[str, ...] = WORDS,
    places: Any = int,
) -> AttachmentWriter:
    soft = SoftPrompts(form, "decoder", WIDTH, 100, places)
    return AttachmentWriter(soft, NativeMedia(FakePixels(), 1 << 20, 5.0), limits, PlaceholderBreaker(words))


def soft(
    tokens: int = 3, fill: float = 1.0, decoder: str = "decoder", width: int = WIDTH
) -> PromptEmbeddings:
    return PromptEmbeddings(np.full((tokens, width), fill, np.float32), decoder)


def body(*contents: Any, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "m", "messages": messages} | fields).encode()


def attached(index: Any) -> dict[str, Any]:
    return {"type": "attachment", "index": index}


async def written(made: AttachmentWriter, asked: bytes, *attachments: Attachment) -> dict[str, Any]:
    async with made.written(asked, attachments) as new:
        return dict(json.loads(new.body))


def tensor_of(encoded: str) -> Any:
    return torch.load(io.BytesIO(base64.b64decode(encoded)), weights_only=True)


async def test_prompt_embeddings_are_lent_and_taken_back() -> None:
    async with writer().written(body([attached(0)]), (soft(2, 2.0),)) as new:
        ticket = json.loads(new.body)["messages"][0]["content"][0]["data"]
        assert media_connector._lent[ticket].tolist() == [[2.0] * WIDTH] * 2
        tensor = weakref.ref(media_connector._lent[ticket])
        new.was_read()
        assert tensor() is None
    assert not media_connector._lent


async def test_every_attachment_stands_in_its_place_in_its_form() -> None:
    read_only = soft(2, 2.0)
    read_only.vectors.flags.writeable = False
    asked = body([{"type": "text", "text": "a"}, attached(2), attached(0)], "b", [attached(1)], seed=7)
    async with writer().written(asked, (soft(), native(1), read_only)) as new:
        made = json.loads(new.body)
        first, second, third = (message["content"] for message in made["messages"])
        assert (made["seed"], second, first[0]) == (7, "b", {"type": "text", "text": "a"})
        assert [part["type"] for part in first[1:]] == ["prompt_embeds", "prompt_embeds"]
        assert torch.equal(media_connector._lent[first[1]["data"]], torch.full((2, WIDTH), 2.0))
        assert torch.equal(media_connector._lent[first[2]["data"]], torch.ones(3, WIDTH))
        (picture,) = third
        assert picture["uuid"] == native(1).content_id
        lent = media_connector._lent[picture["image_url"]["url"]]
        assert np.array_equal(np.asarray(lent), await FakePixels().picture(native(1).media, 96))
        pixels = weakref.ref(lent)
        del lent
        new.was_read()
        async with asyncio.timeout(30):  # no longer held while the answer is written
            while pixels() is not None:  # noqa: ASYNC110 - the thread that made them forgets them a moment later
                await asyncio.sleep(0.01)
    assert picture["image_url"]["url"] not in media_connector._lent


async def test_soft_tokens_as_embeddings_of_pictures() -> None:
    made = await written(writer("image_embeds"), body([attached(0)]), soft())
    (part,) = made["messages"][0]["content"]
    assert part["type"] == "image_embeds"
    assert tensor_of(part["image_embeds"]).shape == (3, WIDTH)


async def test_a_view_of_a_large_array_is_saved_alone() -> None:
    """torch saves the whole memory a view looks into."""
    large = np.zeros((5_000, WIDTH), np.float32)
    made = await written(writer("image_embeds"), body([attached(0)]), PromptEmbeddings(large[7:9], "decoder"))
    assert len(made["messages"][0]["content"][0]["image_embeds"]) < 4_000


async def test_a_body_without_any_is_passed_on_untouched() -> None:
    asked = b'{"messages": [ {"role":"user","content":"a < b"} ] }'
    async with writer().written(asked, ()) as new:
        assert new.body is asked
    async with writer().written(b"no JSON at all", ()) as new:
        assert new.body == b"no JSON at all"


@pytest.mark.parametrize("hide", [str, lambda text: text.replace("<", "\\u003c")], ids=["plain", "escaped"])
async def test_placeholders_are_broken_up_wherever_the_template_reads(hide: Any) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": "<image>"}'}}
    asked = {
        "messages": [
            {"role": "system", "content": "<image><|image_pad|>"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "user", "content": [{"type": "text", "text": "a <prompt_embeds> <b> <imag"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "of <image>"}}],
        "stop": ["<image>"],
    }
    made = await written(writer(), hide(json.dumps(asked)).encode())
    texts = json.dumps([made["messages"], made["tools"]])
    assert not any(word in texts for word in WORDS)
    assert made["messages"][0]["content"] == "< image>< |image_pad|>"
    assert made["messages"][2]["content"][0]["text"] == "a < prompt_embeds> <b> <imag"
    assert made["stop"] == ["<image>"]


async def test_placeholders_that_a_template_would_make() -> None:
    """vLLM decodes arguments of tools, and templates write a message's texts without anything between them."""
    arguments = json.dumps({"a": "<image>", "b": "ü"}).replace("<", "\\u003c")
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    asked = {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "user", "content": [{"type": "text", "text": text} for text in ("a <", "ima", "ge> b")]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "<ima"}, attached(0), {"type": "text", "text": "ge>"}],
            },
        ]
    }
    made = await written(writer(), json.dumps(asked).encode(), soft())
    called, texts, around = made["messages"]
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": "< image>", "b": "ü"}
    assert "".join(part["text"] for part in texts["content"]) == "a <ima ge> b"
    assert (around["content"][0]["text"], around["content"][2]["text"]) == ("<ima", "ge>")


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["<image>"]},
        {"const": "a <image> b"},
        {"properties": {"<image>": {}}},
        {"anyOf": [{"pattern": "<image>"}]},
    ],
)
async def test_what_a_tool_is_to_be_called_with_is_never_changed(schema: dict[str, Any]) -> None:
    """Broken up, an answer held to the schema would have other letters than the client's tool knows."""
    function = {"name": "f", "description": "of <image>", "parameters": schema}
    asked = body("Call it.", tools=[{"type": "function", "function": function}])
    with pytest.raises(InvalidRequest, match="'<image>'") as caught:
        await written(writer(), asked)
    assert caught.value.param == "tools"
    harmless = {"properties": {"description": {"enum": ["a"], "title": "an <image>"}}}
    made = await written(writer(), body("", tools=[{"function": {"parameters": harmless}}]))
    assert made["tools"][0]["function"]["parameters"]["properties"]["description"] == {
        "enum": ["a"],
        "title": "an < image>",
    }


async def test_deep_nesting_is_the_clients_mistake() -> None:
    nested: Any = "<image>"
    for _ in range(700):
        nested = [nested]
    with pytest.raises(InvalidRequest, match="nested"):
        await written(writer(), body("", tools=[{"function": {"parameters": {"enum": nested}}}]))


@given(st.lists(st.sampled_from([*WORDS, "<", "image>", " ", "a", "<i", "mage>", "|"]), max_size=12))
def test_no_placeholder_is_left_and_nothing_else_changes(pieces: list[str]) -> None:
    text = "".join(pieces)
    broken = PlaceholderBreaker(WORDS).broken(text)
    assert not any(word in broken for word in WORDS)
    assert broken.replace(" ", "") == text.replace(" ", "")
    assert PlaceholderBreaker(()).broken(text) == text
    parts = [{"type": "text", "text": piece} for piece in pieces]
    apart = PlaceholderBreaker(WORDS).broken_message({"role": "user", "content": parts})["content"]
    joined = "".join(part["text"] for part in apart)
    assert not any(word in joined for word in WORDS)
    assert joined.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("asked", "attachments"),
    [
        (body([attached(1)]), (soft(),)),
        (body([attached(-1)]), (soft(),)),
        (body([attached("0")]), (soft(),)),
        (body([attached(True)]), (soft(), soft())),
        (body([attached(0), attached(0)]), (soft(),)),
        (body("nothing"), (soft(),)),
        (body([attached(0)]), (soft(), soft())),
    ],
    ids=["beyond", "negative", "text", "truth", "twice", "unused", "one unused"],
)
async def test_attachments_and_messages_must_fit(asked: bytes, attachments: tuple[Attachment, ...]) -> None:
    with pytest.raises(AttachmentRefused):
        await written(writer(), asked, *attachments)
    assert not media_connector._lent


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (soft(decoder="other"), BridgeMismatch),
        (soft(width=WIDTH - 1), AttachmentRefused),
        (soft(0), AttachmentRefused),
        (soft(fill=float("nan")), AttachmentRefused),
        (soft(fill=float("-inf")), AttachmentRefused),
        (PromptEmbeddings(np.ones((2, WIDTH), np.float16), "decoder"), AttachmentRefused),
        (PromptEmbeddings(np.ones((1, 2, WIDTH), np.float32), "decoder"), AttachmentRefused),
        (PromptEmbeddings([[1.0] * WIDTH], "decoder"), AttachmentRefused),
        (soft(98), InvalidRequest),
    ],
    ids=["decoder", "width", "none", "nan", "infinite", "half", "shape", "list", "too many"],
)
async def test_soft_tokens_are_checked_one_and_all(bad: PromptEmbeddings, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await written(writer(), body([attached(0), attached(1)]), soft(), bad)
    if error is InvalidRequest:
        assert caught.value.code == "context_length_exceeded"


async def test_forms_the_engine_was_not_started_for() -> None:
    with pytest.raises(AttachmentRefused, match="soft tokens"):
        await written(writer(None), body([attached(0)]), soft())
    with pytest.raises(AttachmentRefused, match="gives a picture 8"):
        await written(writer("image_embeds", places=lambda _: 8), body([attached(0)]), soft())
    with pytest.raises(AttachmentRefused, match="pictures"):
        await written(writer(limits={}), body([attached(0)]), native(1))
    with pytest.raises(InvalidRequest, match="at most 2 pictures"):
        await written(writer(), body([attached(0), attached(1), attached(2)]), *map(native, range(3)))


async def test_no_object_is_no_request() -> None:
    with pytest.raises(InvalidRequest):
        await written(writer(), b"[1]", soft())
    with pytest.raises(InvalidRequest):
        await written(writer(), b"{", soft())
