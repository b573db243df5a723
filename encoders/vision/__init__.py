"""Vision encoders: what they share."""
