"""Storage: the object store is the truth, everything else is a cache.

Nothing is re-exported here, so that importing one noun never pulls in another's dependencies.
"""
