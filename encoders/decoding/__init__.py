"""Decoding of images, sound and video.

``sandbox``, ``process``, ``medium``, ``answers``, ``wire`` and ``sniff`` are the service's side; everything else
runs in the closed process that ``worker`` is.
"""
