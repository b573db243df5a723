"""GPUs and CPU cores for each kind of work."""

from __future__ import annotations

from deploy.planning.load import Load
from deploy.planning.rates import Work, rate
from deploy.planning.sheet import Sheet

__all__ = ["POOLS", "add_demand", "add_pools", "add_readers"]

POOLS: tuple[Work, ...] = ("vision", "speech", "text", "chat", "gateway")

_SECONDS_PER_DAY = 86_400


def add_demand(sheet: Sheet, load: Load) -> None:
    """What is to be done a second: by requests, on average and at the peak, and by what becomes searchable."""
    asked = load.requests
    sheet.section("Requests")
    for name, value in asked.per_day.model_dump().items():
        sheet.given(f"{name}_requests_per_day", value, "requests", "load")
    kinds = tuple(asked.per_day.model_dump())
    sheet.compute("requests_per_day", " + ".join(f"{kind}_requests_per_day" for kind in kinds), "requests")
    sheet.given("peak_factor", load.peak_factor, "times the mean", "load")
    sheet.compute("requests_per_second", f"requests_per_day / {_SECONDS_PER_DAY}", "a second")
    sheet.compute("peak_requests_per_second", "requests_per_second * peak_factor", "a second")
    sheet.given("output_tokens", asked.output_tokens, "tokens", "load")
    sheet.given("stream_tokens_per_second", asked.stream_tokens_per_second, "tokens a second", "load")
    formula = "peak_requests_per_second * output_tokens / stream_tokens_per_second"
    sheet.compute("peak_streams", formula, "streams")

    sheet.section("Work")
    sheet.given("cache_hit_share", asked.cache_hit_share, "share", "load")
    sheet.given("searches_per_day", load.searches.per_day, "searches", "load")
    for work, per_request in (("vision", asked.images), ("speech", asked.clips)):
        terms = [
            f"{kind}_requests_per_day * {count:g}"
            for kind, count in per_request.model_dump().items()
            if count and sheet[f"{kind}_requests_per_day"]
        ]
        formula = f"({' + '.join(terms) or '0'}) * (1 - cache_hit_share) / {_SECONDS_PER_DAY}"
        sheet.compute(f"{work}_requested_per_second", formula, "a second")
    formula = f"searches_per_day * (1 - cache_hit_share) / {_SECONDS_PER_DAY}"
    sheet.compute("text_requested_per_second", formula, "a second")
    sheet.compute("chat_requested_per_second", "requests_per_second * output_tokens", "a second")
    for work, modalities in (
        ("vision", ("image", "video")),
        ("speech", ("audio",)),
        ("text", ("text", "audio")),
    ):
        terms = [
            f"{modality}_items_encoded_per_day * parts_per_{modality}"
            for modality in modalities
            if f"{modality}_items_encoded_per_day" in sheet
        ]
        formula = f"({' + '.join(terms) or '0'}) / {_SECONDS_PER_DAY}"
        sheet.compute(f"{work}_ingested_per_second", formula, "a second")
    sheet.compute("chat_ingested_per_second", "0", "a second")
    formula = f"requests_per_second + searches_per_day / {_SECONDS_PER_DAY}"
    sheet.compute("gateway_requested_per_second", formula, "a second")
    named = [name for name in ("text", "image", "video", "audio") if f"{name}_items_encoded_per_day" in sheet]
    items = " + ".join(f"{name}_items_per_day" for name in named) or "0"
    sheet.compute("gateway_ingested_per_second", f"({items}) / {_SECONDS_PER_DAY}", "a second")


def add_pools(sheet: Sheet, load: Load) -> None:
    """Units of each pool at the peak and on average. What becomes searchable waits in a queue: it has no peak."""
    sheet.section("Pools")
    sheet.given("use_share", load.use_share, "share", "load: the rest is headroom")
    for work in POOLS:
        model = getattr(load.models, work)
        found = rate(work, model, load.rates)
        of = f"{found.gpus} GPU" if found.gpus else f"{found.cores} cores"
        sheet.given(
            f"{work}_rate", found.per_second, f"a second of {of}", f"{found.kind}: {model}, {found.source}"
        )
        sheet.compute(
            f"{work}_per_second", f"{work}_requested_per_second + {work}_ingested_per_second", "a second"
        )
        formula = f"{work}_requested_per_second * peak_factor + {work}_ingested_per_second"
        sheet.compute(f"{work}_peak_per_second", formula, "a second")
        for which in ("", "peak_"):
            formula = f"ceil({work}_{which}per_second / ({work}_rate * use_share))"
            sheet.compute(f"{work}_{which}units", formula, "units")
        for kind, count in (("gpus", found.gpus), ("cores", found.cores)):
            for which in ("", "peak_"):
                sheet.compute(f"{work}_{which}{kind}", f"{work}_{which}units * {count}", kind)
    for kind in ("gpus", "cores"):
        for which in ("", "peak_"):
            formula = " + ".join(f"{work}_{which}{kind}" for work in POOLS)
            sheet.compute(f"{which}{kind}", formula, kind)


def add_readers(sheet: Sheet, load: Load, kind: str) -> None:
    """Readers of the index: as many as the memory, the rate, and their number asked for call for."""
    searches = load.searches
    sheet.section("Readers")
    found = rate("search", kind, load.rates)
    source = f"{found.kind}: {kind} index, {found.source}"
    sheet.given("queries_per_second_per_core", found.per_second / max(1, found.cores), "a second", source)
    sheet.given("cores_per_reader", searches.cores_per_reader, "cores", "load")
    sheet.given("memory_per_reader_bytes", searches.memory_per_reader_bytes, "bytes", "load")
    sheet.given("replicas", searches.replicas, "readers", "load")
    sheet.compute("shards", "max(1, ceil(memory_bytes / (memory_per_reader_bytes * 0.9)))", "shards")
    sheet.compute("searches_per_second", f"searches_per_day / {_SECONDS_PER_DAY}", "a second")
    sheet.compute("peak_searches_per_second", "searches_per_second * peak_factor", "a second")
    formula = "peak_searches_per_second / (queries_per_second_per_core * cores_per_reader * use_share)"
    sheet.compute("readers_per_shard", f"max(replicas, ceil({formula}))", "readers")
    sheet.compute("readers", "shards * readers_per_shard", "readers")
