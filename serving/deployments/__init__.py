"""Plain classes that do the work behind the routes; ``deploy`` wraps them for Ray Serve."""
