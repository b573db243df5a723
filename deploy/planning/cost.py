"""What it costs a month, and a request."""

from __future__ import annotations

from deploy.planning.load import Load
from deploy.planning.pools import POOLS
from deploy.planning.rates import rate
from deploy.planning.sheet import Sheet

__all__ = ["add_cost"]

_HOURS, _DAYS = 730, 30.4
_DOLLARS = "USD"


def add_cost(sheet: Sheet, load: Load) -> None:
    """By month, by request, and what one request of each kind adds while machines are used as planned."""
    sheet.section("Cost")
    for name, value in load.prices.model_dump().items():
        sheet.given(f"price_of_{name}", value, _DOLLARS, "load")
    which = "" if load.autoscaled else "peak_"
    sheet.compute("gpu_cost", f"{which}gpus * {_HOURS} * price_of_gpu_hour", f"{_DOLLARS} a month")
    formula = f"({which}cores + readers * cores_per_reader) * {_HOURS} * price_of_core_hour"
    sheet.compute("core_cost", formula, f"{_DOLLARS} a month")
    # Shards share out the rows, every reader of a shard holds the shard.
    formula = (
        "readers_per_shard * (memory_bytes + (shards - 1) * process_bytes) / 1e9 * price_of_memory_gb_month"
    )
    sheet.compute("memory_cost", formula, f"{_DOLLARS} a month")
    sheet.compute("object_cost", "object_bytes / 1e9 * price_of_object_gb_month", f"{_DOLLARS} a month")
    formula = "readers_per_shard * disk_bytes_per_reader / 1e9 * price_of_disk_gb_month"
    sheet.compute("disk_cost", formula, f"{_DOLLARS} a month")
    total = "gpu_cost + core_cost + memory_cost + object_cost + disk_cost"
    sheet.compute("cost_a_month", total, f"{_DOLLARS} a month")
    asked = sheet["requests_per_day"] + sheet["searches_per_day"]
    if asked:
        formula = f"cost_a_month / ((requests_per_day + searches_per_day) * {_DAYS})"
        sheet.compute("cost_a_request", formula, _DOLLARS)
    for work in POOLS:
        found = rate(work, getattr(load.models, work), load.rates)
        unit = f"{found.gpus} * price_of_gpu_hour + {found.cores} * price_of_core_hour"
        sheet.compute(f"cost_of_one_{work}", f"({unit}) / 3600 / ({work}_rate * use_share)", _DOLLARS)
    images, clips = load.requests.images.model_dump(), load.requests.clips.model_dump()
    for kind in images:
        formula = (
            f"output_tokens * cost_of_one_chat + (1 - cache_hit_share)"
            f" * ({images[kind]:g} * cost_of_one_vision + {clips[kind]:g} * cost_of_one_speech)"
        )
        sheet.compute(f"cost_of_one_{kind}_request", formula, _DOLLARS)
