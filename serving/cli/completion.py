"""What a shell offers when Tab is pressed, asked of the platform where that is needed.

A completion is a convenience: it never says an error and never keeps a shell waiting for long. Where nobody answers
it offers nothing.
"""

from __future__ import annotations

import os
from typing import Any

import typer

__all__ = ["complete_collection", "complete_model"]

_TIMEOUT_SECONDS = 1.0


def complete_model(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Models that the platform serves, with what they do; and their other names."""
    offered = []
    for model in _listed(ctx, "/v1/models"):
        facts = model.get("manymodal") or {}
        task = str(facts.get("task", ""))
        offered += [(str(name), task) for name in (model.get("id"), *facts.get("aliases", ())) if name]
    return _beginning_with(incomplete, offered)


def complete_collection(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Collections of the platform, with how much is in them; and their aliases."""
    offered = []
    for collection in _listed(ctx, "/v1/collections"):
        size = f"{collection.get('documents', 0)} documents"
        offered.append((str(collection.get("name", "")), size))
        offered += [
            (str(alias), f"alias of {collection.get('name')}") for alias in collection.get("aliases", ())
        ]
    return _beginning_with(incomplete, offered)


def _listed(ctx: typer.Context, path: str) -> list[dict[str, Any]]:
    """``data`` of a listing; nothing when the platform is not there, wants another key, or is slow."""
    # Options that stand before the word are parsed; those of the environment are not resolved for a completion.
    url = str(ctx.params.get("url") or os.environ.get("MANYMODAL_URL") or "http://127.0.0.1:8000")
    key = ctx.params.get("api_key") or os.environ.get("MANYMODAL_API_KEY")
    try:
        import httpx

        from serving.cli.client import base_url, is_loopback

        address = base_url(url)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = httpx.get(
            f"{address}{path}", headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=not is_loopback(address)
        )
        data = answer.json()["data"]
        return [one for one in data if isinstance(one, dict)]
    except Exception:
        # Whatever it is: a shell that completes a word is no place to say it.
        return []


def _beginning_with(incomplete: str, offered: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, help_) for name, help_ in offered if name and name.startswith(incomplete)]
