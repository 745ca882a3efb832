"""Bytes by their SHA-256: blobs that are on disk before a row points at them, and the resumable
uploads that bring them in.
"""
