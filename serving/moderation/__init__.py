"""Telling what may be harmful in texts and pictures, and keeping it out where a tenant's policy says so."""
