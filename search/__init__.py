"""Search: Lance tables hold the rows, FAISS answers.

Nothing is re-exported here: ``search.types``, ``search.errors`` and ``search.config`` stay light for the
gateway, while ``search.engine`` and what lies below it load Lance, Arrow and FAISS.
"""
