"""What `python -m eval.bench` times, one module for each thing; none of them reads flags."""
