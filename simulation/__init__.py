"""Scenes and microscopes: pair sets whose truth is known."""
