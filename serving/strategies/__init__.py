"""How media become part of a decoder's prompt: one strategy per file, chosen by the profile."""
