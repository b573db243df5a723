"""Answering searches and recommendations: from requests on the wire to queries, and from hits to answers."""
