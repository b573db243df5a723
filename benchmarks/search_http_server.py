"""The platform without Ray, for ``benchmarks.search_http``: the real application, encoders and search on uvicorn.

``python -m benchmarks.search_http_server PORT DATA_DIR``. There is no chat engine: nothing here asks for one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import uvicorn

from deploy.settings import load_settings
from serving.app import create_app
from serving.deployments.perception import PerceptionDeployment
from serving.deployments.search import SearchDeployment
from serving.services import ChatEngine, Services
from storage.assembly import open_storage


class _NoEngine:
    """Says that it is well, and nothing else."""

    async def ready(self) -> bool:
        return True


def main() -> None:
    """Serve until a signal ends it."""
    port, data_dir = int(sys.argv[1]), Path(sys.argv[2])
    settings = load_settings({"port": port, "data_dir": data_dir})
    storage = settings.storage_config()
    config = settings.gateway_config()
    services = Services(
        perception=cast("Any", PerceptionDeployment(settings.encoder_config(), storage)),
        search=SearchDeployment(settings.search_config()),
        engine=cast("ChatEngine", _NoEngine()),
    )
    app = create_app(services, open_storage(storage, config.cache_secret), config)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
