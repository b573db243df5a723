"""Media in, embeddings and text out: decoding in a sandbox, and one file per model family."""
