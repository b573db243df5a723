"""Putting the platform together: settings and profiles, the Ray Serve application, start and stop, the commands."""
