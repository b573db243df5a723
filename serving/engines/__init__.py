"""Decoders: what turns a prompt into a streamed answer."""
