"""Decoding of images, sound and video.

Runs in the sandbox process only; the service imports but ``sniff`` and ``wire``.
"""
