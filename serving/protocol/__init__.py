"""Wire schemas: what clients send and receive, one module per endpoint family. Pydantic lives only here."""
