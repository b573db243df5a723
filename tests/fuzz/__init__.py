"""Fuzz targets: one function for each parser of ours that strangers' bytes reach, or bytes of a store or process
that may be damaged or lying. A target takes bytes and returns; whatever it raises is a finding.
"""
