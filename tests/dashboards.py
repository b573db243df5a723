"""What is in ``deploy/grafana``: every query of every panel and alert, with where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["FOLDER", "alerts", "dashboards", "panels", "queries"]

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana"


def dashboards() -> dict[str, Any]:
    """Every dashboard by its file's name."""
    return {path.name: json.loads(path.read_text()) for path in (FOLDER / "dashboards").glob("*.json")}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its panels, those inside rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def alerts() -> list[dict[str, Any]]:
    """Every rule of every group."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Queries by where they stand."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                found[f"{name}: {panel['title']} {target['refId']}"] = target["expr"]
    return found
