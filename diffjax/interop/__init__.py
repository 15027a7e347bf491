"""Converts weights of other libraries."""
