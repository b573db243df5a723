"""Bytes that are kept: media, table and saved segments."""

from __future__ import annotations

from deploy.planning.load import Load
from deploy.planning.sheet import Sheet

__all__ = ["add_storage"]


def add_storage(sheet: Sheet, load: Load, kind: str) -> None:
    """Media and rows in the object store, and the copies of segments on each reader's disk.

    A table holds float32 vectors whatever the index; saved segments hold them again beside the index.
    """
    items = load.items
    sheet.section("Storage")
    named = []
    for modality, size in items.media_bytes.model_dump().items():
        if f"{modality}_items_encoded_per_day" not in sheet:
            continue
        sheet.given(f"bytes_per_{modality}", size, "bytes", "load")
        formula = f"{modality}_items_encoded_per_day * retention_days * bytes_per_{modality}"
        sheet.compute(f"{modality}_media_bytes", formula, "bytes")
        named.append(f"{modality}_media_bytes")
    sheet.compute("media_bytes", " + ".join(named) or "0", "bytes")
    sheet.given("row_bytes", items.row_bytes, "bytes", "load: text, metadata and columns of a row")
    sheet.compute("table_bytes", "float32_vector_bytes + rows * row_bytes", "bytes")
    segments = "0" if kind == "flat" else "index_bytes + float32_vector_bytes + rows * row_bytes"
    sheet.compute("segment_bytes", segments, "bytes")
    sheet.compute("object_bytes", "media_bytes + table_bytes + segment_bytes", "bytes")
    sheet.compute("disk_bytes_per_reader", "segment_bytes", "bytes")
