"""Measuring: tables, scores and timings. Runs from a checkout; the library never imports it."""
