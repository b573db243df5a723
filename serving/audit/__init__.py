"""Who did what, and when: an append-only log in the object store in which changes are found."""
