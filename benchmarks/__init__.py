"""Side-by-side measurements against named peers. Each module is one benchmark: ``python -m benchmarks.NAME``."""
