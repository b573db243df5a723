"""Rows, the index that holds them, and the memory of a reader."""

from __future__ import annotations

from deploy.planning.load import Load
from deploy.planning.sheet import Sheet

__all__ = ["add_index", "add_rows", "index_kind"]

_BYTES_PER_DIMENSION = {"float32": "4", "int8": "1", "binary": "1 / 8", "pq": "1 / 8"}
"""Product quantisation here is FAISS' fast scan: 4 bits for each 4 dimensions."""

_ID_BYTES = 8  # FAISS keeps an int64 beside each vector of an inverted list
_METADATA_BYTES = (
    40  # address, document, time and modality of a row, in columns; the metadata itself is mapped
)
_PROCESS_BYTES = 250e6  # Python, Arrow, FAISS and Lance before the first row


def add_rows(sheet: Sheet, load: Load) -> None:
    """How many rows (frames, segments, pictures, texts) there are when the oldest are deleted as new ones come."""
    items, rules = load.items, load.cost_rules
    sheet.section("Rows")
    sheet.given("retention_days", items.retention_days, "days", "load")
    sheet.given("tiny_image_share", rules.tiny_image_share, "share", "load")
    sheet.given("duplicate_share", rules.duplicate_share, "share", "load")
    for modality, per_day in items.per_day.model_dump().items():
        if not per_day:
            continue
        sheet.given(f"{modality}_items_per_day", per_day, "items", "load")
        sheet.given(f"parts_per_{modality}", getattr(items.parts, modality), "rows", "load")
        kept = f"{modality}_items_per_day * (1 - duplicate_share)"
        tiny = " * (1 - tiny_image_share)" if modality == "image" else ""
        sheet.compute(f"{modality}_items_encoded_per_day", kept + tiny, "items")
        formula = f"{modality}_items_encoded_per_day * parts_per_{modality} * retention_days"
        sheet.compute(f"{modality}_rows", formula, "rows")
    named = [f"{modality}_rows" for modality in items.per_day.model_dump() if f"{modality}_rows" in sheet]
    sheet.compute("rows", " + ".join(named) or "0", "rows")
    sheet.given("dimensions", load.vectors.dimensions, "numbers", "load")
    sheet.given("full_dimensions_share", rules.full_dimensions_share, "share", "load")
    sheet.given(
        "reduced_dimensions", min(rules.reduced_dimensions, load.vectors.dimensions), "numbers", "load"
    )
    formula = "full_dimensions_share * dimensions + (1 - full_dimensions_share) * reduced_dimensions"
    sheet.compute("mean_dimensions", formula, "numbers")


def index_kind(rows: float, load: Load) -> str:
    """What ``auto`` builds for so many rows: scanned flat, inverted lists, or product-quantised lists."""
    if rows < load.vectors.flat_rows:
        return "flat"
    if rows < load.vectors.pq_rows and load.vectors.storage != "pq":
        return "ivf"
    return "ivf_pq" if load.vectors.storage in ("float32", "pq") else "ivf"


def held_as(kind: str, load: Load) -> str:
    """How the index holds vectors: flat ones are exact, large ones are quantised even without being told to."""
    return {"flat": "float32", "ivf_pq": "pq"}.get(kind, load.vectors.storage)


def add_index(sheet: Sheet, load: Load) -> str:
    """Bytes of the index and of a reader; returns the kind of index."""
    kind = index_kind(sheet["rows"], load)
    storage = held_as(kind, load)
    sheet.section("Index and memory")
    sheet.compute("bytes_per_dimension", _BYTES_PER_DIMENSION[storage], "bytes")
    sheet.compute("float32_vector_bytes", "rows * mean_dimensions * 4", "bytes")
    sheet.compute("vector_bytes", "rows * mean_dimensions * bytes_per_dimension", "bytes")
    parts = ["vector_bytes"]
    if kind != "flat":
        sheet.compute("index_lists", "ceil(4 * sqrt(rows))", "lists")
        sheet.compute("index_list_bytes", "index_lists * mean_dimensions * 4", "bytes")
        sheet.compute("index_id_bytes", f"rows * {_ID_BYTES}", "bytes")
        parts += ["index_list_bytes", "index_id_bytes"]
    sheet.compute("index_bytes", " + ".join(parts), "bytes")
    sheet.compute("metadata_bytes", f"rows * {_METADATA_BYTES}", "bytes")
    sheet.given("process_bytes", _PROCESS_BYTES, "bytes", "measured: a reader before the first row")
    sheet.compute("memory_bytes", "index_bytes + metadata_bytes + process_bytes", "bytes")
    # Answers are scored on full vectors in a mapped file: the system caches what is asked for, and gives it up.
    sheet.compute("page_cache_bytes_at_most", "0" if kind == "flat" else "float32_vector_bytes", "bytes")
    return kind
