"""Gathering what callers ask of a model into its runs."""
