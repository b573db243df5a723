"""Rows, the index that holds them, and the memory of a reader."""

from __future__ import annotations

from deploy.planning.load import Load
from deploy.planning.sheet import Sheet
from search.index.plan import choose
from search.types import IndexSpec

__all__ = ["add_index", "add_rows", "index_kind"]

_BYTES_PER_DIMENSION = {"float32": "4", "int8": "1", "binary": "1 / 8", "pq": "1 / 8"}
"""Product quantisation here is FAISS' fast scan: 4 bits for each 4 dimensions. Bits are RaBitQ's."""

_ID_BYTES = 8  # FAISS keeps an int64 beside each vector of an inverted list
_FACTOR_BYTES = {"binary": 8}  # RaBitQ keeps two float32 with the bits of a vector
_CELL_BYTES = 4  # which list a row is in, for filters
_ROW_BYTES_BESIDE = (
    30  # a row's metadata in columns, once a filter asked for it; its other columns are mapped
)
_PROCESS_BYTES = 110e6  # Python, Arrow, FAISS and Lance before the first row


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


def index_kind(rows: float, load: Load) -> tuple[str, str]:
    """The kind of index and how it holds vectors, as ``search.index.plan`` chooses them for so many rows: scanned
    in memory below ``flat_rows``, else inverted lists, product-quantised when they are very many.
    """
    if rows < load.vectors.flat_rows:
        return "flat", "float32"
    dimensions, storage = load.vectors.dimensions, load.vectors.storage
    spec = IndexSpec(kind="ivf_pq") if storage == "pq" else IndexSpec(storage=storage)
    chosen = choose(int(rows), spec, dimensions, load.vectors.pq_rows)
    return chosen.kind, "pq" if chosen.kind == "ivf_pq" else chosen.storage


def add_index(sheet: Sheet, load: Load) -> str:
    """Bytes of the index and of a reader; returns the kind of index."""
    kind, storage = index_kind(sheet["rows"], load)
    sheet.section("Index and memory")
    sheet.compute("bytes_per_dimension", _BYTES_PER_DIMENSION[storage], "bytes")
    sheet.compute("float32_vector_bytes", "rows * mean_dimensions * 4", "bytes")
    sheet.compute("vector_bytes", "rows * mean_dimensions * bytes_per_dimension", "bytes")
    parts = ["vector_bytes"]
    if kind != "flat":
        sheet.compute("index_lists", "ceil(2 * sqrt(rows))", "lists")
        sheet.compute("index_list_bytes", "index_lists * mean_dimensions * 4", "bytes")
        beside = " + ".join(f"{size:g}" for size in (_ID_BYTES, _FACTOR_BYTES.get(storage, 0)) if size)
        sheet.compute("index_id_bytes", f"rows * ({beside})", "bytes")
        parts += ["index_list_bytes", "index_id_bytes"]
    sheet.compute("index_bytes", " + ".join(parts), "bytes")
    cells = "" if kind == "flat" else f"{_CELL_BYTES} + "
    sheet.compute("metadata_bytes", f"rows * ({cells}{_ROW_BYTES_BESIDE})", "bytes")
    sheet.given("process_bytes", _PROCESS_BYTES, "bytes", "measured: a reader before the first row")
    sheet.compute("memory_bytes", "index_bytes + metadata_bytes + process_bytes", "bytes")
    # Answers are scored on full vectors in a mapped file: the system caches what is asked for, and gives it up.
    sheet.compute("page_cache_bytes_at_most", "0" if kind == "flat" else "float32_vector_bytes", "bytes")
    return kind
