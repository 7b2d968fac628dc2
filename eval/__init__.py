"""Measuring: tables, scores and timings. Runs from a checkout; the library never imports it."""

from eval.evaluate import evaluate

__all__ = ["evaluate"]
