"""Blocks with attachments among their words, as content parts of a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from fusion.prompt import MixedBlock, Slot, question_last
from serving.services import Attachment
from serving.strategies.strategy import Block, Content, FusedMedia, PlacedBlock

__all__ = ["content_parts", "placed", "renumbered"]


def placed(blocks: Sequence[MixedBlock], attach: Callable[[int, Slot], Attachment]) -> FusedMedia:
    """The blocks with an attachment in every slot; ``attach`` makes it of the medium's number and the slot."""
    attachments: list[Attachment] = []
    written = []
    for medium, block in enumerate(blocks):
        parts: list[str | int] = []
        for part in block.parts:
            if isinstance(part, Slot):
                parts.append(len(attachments))
                attachments.append(attach(medium, part))
            else:
                parts.append(part)
        written.append(PlacedBlock(tuple(parts), block.tokens, block.pieces, block.cut))
    return FusedMedia(tuple(written), tuple(attachments))


def renumbered(fused: FusedMedia, shown: Sequence[tuple[int, ...]]) -> FusedMedia:
    """With the pieces of each block numbered as its medium's are, of which only those ``shown`` were to stand."""
    blocks = [
        replace(block, pieces=tuple(pieces[piece] for piece in block.pieces))
        if isinstance(block, PlacedBlock) and pieces
        else block
        for block, pieces in zip(fused.blocks, shown, strict=True)
    ]
    return replace(fused, blocks=tuple(blocks))


def content_parts(parts: Sequence[str | Block]) -> Content:
    """A message's texts and blocks, the question last; one text where there is no attachment among them."""
    written = list(_merged(_flat(question_last(parts))))
    if all(isinstance(part, str) for part in written):
        return "".join(part for part in written if isinstance(part, str))
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "attachment", "index": part}
        for part in written
    ]


def _flat(parts: Sequence[str | Block]) -> Iterator[str | int]:
    for part in parts:
        if isinstance(part, PlacedBlock):
            yield from part.parts
        elif isinstance(part, str):
            yield part


def _merged(parts: Iterator[str | int]) -> Iterator[str | int]:
    """Texts side by side become one; empty ones go."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text = "\n\n".join(piece for piece in (text, part) if piece)
            continue
        if text:
            yield text
            text = ""
        yield part
    if text:
        yield text
