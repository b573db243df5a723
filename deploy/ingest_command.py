"""``manymodal ingest-cluster``: bulk ingest as a Ray Data pipeline over the platform's own store."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.command_options import DataDir, ModelsDir, Profile
from deploy.errors import DeployError
from deploy.given_settings import given_settings
from serving.cli.options import Collection, Duplicates, MinSide, Ocr, Report

__all__ = ["ingest_cluster"]


def ingest_cluster(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Files, folders and lists (.csv, .jsonl, .parquet) that all machines see."
        ),
    ],
    collection: Collection = "default",
    address: Annotated[
        str, typer.Option(help="The Ray cluster: auto, an address, or local to start one here.")
    ] = "local",
    fetchers: Annotated[int, typer.Option(min=1, help="Actors that fetch, store and decode.")] = 1,
    encoders: Annotated[int, typer.Option(min=1, help="Actors that encode.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs (or a part of one) that an encoder takes.")] = 0.0,
    ocr: Ocr = "off",
    min_side: MinSide = 0,
    duplicates: Duplicates = "skip",
    report: Report = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as JSON.")] = False,
) -> None:
    """Index many things on a Ray cluster, beside a running platform or without one.

    Actors write into the platform's store and collections directly, so several machines need S3. Again, it leaves
    out what the collection has. The exit code is 1 when something failed.
    """
    if ocr not in ("auto", "on", "off") or duplicates not in ("skip", "index"):
        raise typer.BadParameter("--ocr is auto, on or off; --duplicates is skip or index.")
    from deploy.ray_environment import ray_environment
    from serving.ingest.items import IngestOptions, OcrMode, OnDuplicate, Outcome

    settings = given_settings(profile=profile, data_dir=data_dir, models_dir=models_dir)
    # Ray reads these when it is imported, here and in every process started from here.
    os.environ.update(ray_environment(settings))
    import ray

    from deploy.ray_ingest import ClusterIngest, entries_of_paths, ingest_on_cluster

    reading: OcrMode = "on" if ocr == "on" else "off" if ocr == "off" else "auto"
    doubles: OnDuplicate = "index" if duplicates == "index" else "skip"
    wanted = ClusterIngest(
        settings, collection, IngestOptions(reading, min_side, doubles), fetchers, encoders, gpus
    )
    local: dict[str, Any] = {"num_cpus": max(fetchers + encoders + 2, os.cpu_count() or 2)}
    ray.init(
        address,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        **(local if address == "local" else {}),
    )
    try:
        lines = None if report is None else report.open("w", encoding="utf-8")

        def note(outcomes: Sequence[Outcome]) -> None:
            for one in outcomes:
                if lines is not None and one.status != "indexed":
                    fields = {"id": one.document_id, "source": one.source, "status": one.status}
                    line = fields | {"code": one.code, "message": one.message}
                    lines.write(json.dumps(line, ensure_ascii=False) + "\n")

        try:
            statistics = ingest_on_cluster(wanted, entries_of_paths(paths), note)
        except ray.exceptions.RayError as error:
            raise DeployError(
                "The cluster stopped before the end. What was written stays; run the command again to go on. "
                f"Ray says: {str(error).strip().splitlines()[-1]}"
            ) from error
        finally:
            if lines is not None:
                lines.close()
    finally:
        ray.shutdown()
    if as_json:
        typer.echo(json.dumps(statistics))
    else:
        typer.echo(
            f"{statistics['successful']} of {statistics['total_processed']} were added to the collection "
            f"'{collection}', {statistics['skipped']} skipped, {statistics['failed']} failed; "
            f"{statistics['throughput']:.1f} a second."
        )
    if statistics["failed"]:
        raise typer.Exit(1)
