"""Ray Serve handles as the services of ``serving/services.py``. Only this package and ``deploy/`` know Ray.

Each adapter calls one deployment through its handle and gives every failure its own name: an exception raised
by a deployment arrives as itself, not as Ray's wrapper around it; a full queue, a lost replica and a silent one
become the typed errors of ``serving.errors``.
"""

from serving.ray_adapter.bridge import RayBridge
from serving.ray_adapter.chat_engine import RayChatEngine
from serving.ray_adapter.perception import RayPerception
from serving.ray_adapter.search_index import RaySearchIndex

__all__ = ["RayBridge", "RayChatEngine", "RayPerception", "RaySearchIndex"]
