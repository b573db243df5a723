"""HTTP routes, one module per endpoint family. Each module offers ``router``."""
