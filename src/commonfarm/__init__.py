"""Commonfarm runs the infrastructure of a free-software project, from machines to downloads."""

__version__ = "0.1.0"
