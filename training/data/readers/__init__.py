"""Readers of recordings, one per layout on disk."""
