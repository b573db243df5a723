"""Who may come in: API keys and settings of tenants as records in the object store, and the gate before routes."""
