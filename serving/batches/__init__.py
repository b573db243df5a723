"""Batches: files of requests that are answered in the background, each exactly as if it had been sent by itself.

``batches.Batches`` is what routes use; ``runner`` runs batches under leases, ``run`` is one run of one batch.
"""
