"""Encoder outputs become part of the decoder's prompt: as text now, as soft tokens later."""
