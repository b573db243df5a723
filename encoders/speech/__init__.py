"""Transcribers: what they share."""
