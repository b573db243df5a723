"""Input items on their way in: media through the door of media, references followed, ids given.

What comes out is as it is stored and shown, and names media by their ids only: no bytes, no addresses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from encoders.types import MediaKind
from serving.admission import Admission, AdmittedMedia
from serving.concurrency import all_of
from serving.errors import InvalidRequest, LimitExceeded, ResponseNotFound
from serving.protocol.response_items import (
    AnswerItem,
    FunctionCallInput,
    FunctionOutputInput,
    InputAudioContent,
    InputFileContent,
    InputImageContent,
    InputItem,
    InputTextContent,
    InstructionItem,
    ItemReference,
    MediaContent,
    ReasoningInput,
    UserItem,
)
from serving.refusals import ANY_KIND
from serving.responses.ids import new_item_id, response_of_item
from serving.responses.messages import media_ids
from serving.responses.store import Item, ResponseStore
from storage.errors import MediaNotFound
from storage.media import MediaStore
from storage.types import INLINE, MediaRecord

__all__ = ["ItemIntake", "TakenItems"]

_IMAGE, _AUDIO = frozenset({MediaKind.IMAGE}), frozenset({MediaKind.AUDIO})
_KEPT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{3,127}")
_MAX_REFERENCES = 128
_SLACK_SECONDS = 24 * 3600  # so that the next turns of a conversation write nothing


@dataclass(frozen=True, slots=True)
class TakenItems:
    """Items as they are stored, and for each where it stands in the request. ``reused``: some medium was not stored
    again because its bytes were known.
    """

    items: list[Item]
    params: list[str]
    reused: bool


class ItemIntake:
    """Takes items in. One per gateway."""

    def __init__(
        self, admission: Admission, media: MediaStore, store: ResponseStore, max_media_per_request: int
    ) -> None:
        self._admission = admission
        self._media = media
        self._store = store
        self._max_media = max_media_per_request

    async def take(
        self,
        tenant: str,
        response_id: str,
        given: str | Sequence[InputItem],
        earlier: Sequence[Item],
        *,
        keep: bool,
        anew: bool,
    ) -> TakenItems:
        """The items of a request, whose conversation so far is ``earlier``.

        With ``keep`` media that came along are kept as long as the response will be. Raises what admission does,
        and ``InvalidRequest`` for references that lead nowhere.
        """
        if isinstance(given, str):
            given = [UserItem(role="user", content=given)]
            params = ["input"]
        else:
            params = [f"input[{place}]" for place in range(len(given))]
        media = [part for item in given if isinstance(item, UserItem) for part in _media_of(item)]
        if len(media) > self._max_media:
            raise LimitExceeded(
                f"The request brings {len(media)} media; at most {self._max_media} "
                "(max_media_per_request) are allowed.",
                "input",
            )
        if sum(isinstance(item, ItemReference) for item in given) > _MAX_REFERENCES:
            raise LimitExceeded(f"A request may refer to at most {_MAX_REFERENCES} items.", "input")
        expires = int(self._store.clock()) + self._store.retention_seconds if keep else None
        kept = await self._kept_items(tenant, given)
        if keep:
            with suppress(MediaNotFound):  # which is told when the prompt is made
                await self.keep(tenant, media_ids(list(kept.values())))
        made = await all_of(
            self._item(tenant, item, param, expires, kept, anew=anew)
            for item, param in zip(given, params, strict=True)
        )
        items, places, reused = list[Item](), list[str](), False
        names = _names(response_id, earlier)
        for (item, was_reused), param in zip(made, params, strict=True):
            reused |= was_reused
            if item is not None:
                items.append({"id": names(item), **{k: v for k, v in item.items() if k != "id"}})
                places.append(param)
        return TakenItems(items, places, reused)

    async def keep(self, tenant: str, media_ids: Sequence[str]) -> None:
        """Keep media of earlier items as long as a response of now will be."""
        expires = int(self._store.clock()) + self._store.retention_seconds

        async def keep(media_id: str) -> None:
            await self._last(await asyncio.to_thread(self._media.get, tenant, media_id), expires)

        await all_of(keep(media_id) for media_id in dict.fromkeys(media_ids))

    async def _item(
        self,
        tenant: str,
        item: InputItem,
        param: str,
        expires: int | None,
        kept: Mapping[str, Item],
        *,
        anew: bool,
    ) -> tuple[Item | None, bool]:
        match item:
            case UserItem():
                return await self._user_message(tenant, item, param, expires, anew=anew)
            case InstructionItem():
                return _message(item, _texts(item.content)), False
            case AnswerItem():
                return _message(item, _answer_parts(item)), False
            case FunctionCallInput() | FunctionOutputInput():
                fields = item.model_dump(exclude_none=True, exclude={"status"})
                return {**fields, "status": item.status or "completed"}, False
            case ItemReference():
                if item.id not in kept:
                    raise _no_such_item(param)
                return kept[item.id], False
            case ReasoningInput():
                return None, False

    async def _user_message(
        self, tenant: str, item: UserItem, param: str, expires: int | None, *, anew: bool
    ) -> tuple[Item, bool]:
        if isinstance(item.content, str):
            return _message(item, _texts(item.content)), False

        async def part(place: int, content: InputTextContent | MediaContent) -> tuple[Item, bool]:
            if isinstance(content, InputTextContent):
                return {"type": "input_text", "text": content.text}, False
            admitted = await self._admitted(tenant, content, f"{param}.content[{place}]", anew=anew)
            if expires is not None:
                await self._last(admitted.record, expires)
            return _reference(content, admitted), admitted.reused

        parts = await all_of(part(place, content) for place, content in enumerate(item.content))
        return _message(item, [content for content, _ in parts]), any(reused for _, reused in parts)

    async def _admitted(self, tenant: str, content: MediaContent, param: str, *, anew: bool) -> AdmittedMedia:
        admission = self._admission
        match content:
            case InputImageContent():
                name, value = _only_one(content, ("image_url", "file_id"), param)
                if name == "file_id":
                    return await admission.from_id(tenant, value, _IMAGE, f"{param}.file_id")
                return await admission.from_reference(tenant, value, _IMAGE, f"{param}.image_url", anew=anew)
            case InputAudioContent():
                data = content.input_audio.data
                return await admission.from_base64(
                    tenant, data, _AUDIO, f"{param}.input_audio.data", anew=anew
                )
            case InputFileContent():
                name, value = _only_one(content, ("file_id", "file_data", "file_url"), param)
                where = f"{param}.{name}"
                if name == "file_id":
                    return await admission.from_id(tenant, value, ANY_KIND, where)
                if name == "file_data" and value[:5].lower() != "data:":
                    raise InvalidRequest("'file_data' must be a data: URL.", where)
                if name == "file_url" and not value[:8].lower().startswith(("http://", "https://")):
                    raise InvalidRequest("'file_url' must be an http(s) URL.", where)
                return await admission.from_reference(
                    tenant, value, ANY_KIND, where, content.filename, anew=anew
                )

    async def _last(self, record: MediaRecord, expires: int) -> None:
        """Keep a medium that came within a request as long as what it is a part of. Files have their own times."""
        if record.purpose != INLINE or record.expires_at_seconds is None:
            return
        if record.expires_at_seconds < expires:
            await asyncio.to_thread(self._media.extend, record, expires + _SLACK_SECONDS)

    async def _kept_items(self, tenant: str, given: Sequence[InputItem]) -> dict[str, Item]:
        """The items that are referred to, by id, as far as they are kept. Each response is read once."""
        wanted = {item.id for item in given if isinstance(item, ItemReference)}
        found: dict[str, Item] = {}
        # One after the other: a response holds its whole conversation.
        for response_id in dict.fromkeys(map(response_of_item, wanted)):
            if response_id is None:
                continue
            try:
                stored = await asyncio.to_thread(self._store.get, tenant, response_id)
            except ResponseNotFound:
                continue
            found |= {item["id"]: item for item in stored.conversation if item["id"] in wanted}
        return found


def _no_such_item(param: str) -> InvalidRequest:
    return InvalidRequest(
        "The item that is referred to was not found. Items are kept with responses that are stored.",
        f"{param}.id",
        "item_not_found",
    )


def _media_of(item: UserItem) -> list[MediaContent]:
    return [] if isinstance(item.content, str) else [p for p in item.content if isinstance(p, MediaContent)]


def _message(item: UserItem | InstructionItem | AnswerItem, content: list[Item]) -> Item:
    named = {"id": item.id} if item.id is not None else {}
    status = item.status or "completed"
    return {**named, "type": "message", "status": status, "role": item.role, "content": content}


def _texts(content: str | Sequence[InputTextContent]) -> list[Item]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [{"type": "input_text", "text": part.text} for part in content]


def _answer_parts(item: AnswerItem) -> list[Item]:
    if isinstance(item.content, str):
        return [{"type": "output_text", "text": item.content, "annotations": [], "logprobs": []}]
    return [
        {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
        if part.type == "output_text"
        else {"type": "refusal", "refusal": part.refusal}
        for part in item.content
    ]


def _reference(content: MediaContent, admitted: AdmittedMedia) -> Item:
    media_id = admitted.record.ref.id
    if isinstance(content, InputImageContent):
        return {"type": "input_image", "file_id": media_id, "detail": content.detail or "auto"}
    named = getattr(content, "filename", None)
    return {"type": "input_file", "file_id": media_id, **({} if named is None else {"filename": named})}


def _only_one(
    content: InputImageContent | InputFileContent, names: Sequence[str], param: str
) -> tuple[str, str]:
    given: dict[str, Any] = {name: getattr(content, name) for name in names}
    found = [(name, value) for name, value in given.items() if value is not None]
    if len(found) != 1:
        wanted = ", ".join(f"'{name}'" for name in names[:-1]) + f" and '{names[-1]}'"
        raise InvalidRequest(f"This part must have exactly one of {wanted}.", param)
    return found[0]


def _names(response_id: str, earlier: Sequence[Item]) -> Callable[[Item], str]:
    """Ids for items: the one it came with, if that is of a usable form and not taken, else a new one."""
    taken = {item["id"] for item in earlier}
    count = 0

    def name(item: Item) -> str:
        nonlocal count
        given = item.get("id")
        if given is None or given in taken or not _KEPT_ID.fullmatch(given):
            given = new_item_id(response_id, item["type"], count)
        count += 1
        taken.add(given)
        return str(given)

    return name
