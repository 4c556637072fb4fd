"""Statements about a study that are judged by its tables."""
