"""The demo: sample media that the project may carry, and a tour that shows and checks the platform."""
