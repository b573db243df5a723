"""One file per model family. ``encoders.registry`` says what such a file must offer."""
