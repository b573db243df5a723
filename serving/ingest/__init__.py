"""Bulk ingest: many pictures, recordings, videos and texts on their way into a collection.

``manifests`` reads lists, ``pipeline`` moves their items through ``arrival``, ``encoding`` and ``writing``, and
``runner`` does that for jobs (``jobs``), which survive the death of a gateway.
"""
