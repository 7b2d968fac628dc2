"""The papers' tables and figures, each from one command: `python -m eval.paper NAME`.

`declared` says what a table compares, `counting` what that costs without data, `scores` what it measures with data and
weights; `eval.published` has what the papers print.
"""
