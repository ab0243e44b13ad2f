"""Helpers that every room uses and no package offers: safe files and folders, progress, processes, charts."""
