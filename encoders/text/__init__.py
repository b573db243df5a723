"""Text encoders: what they share."""
