"""Indexes over the vectors of one space of a segment: exact scans, FAISS's kinds, and what chooses among them."""
