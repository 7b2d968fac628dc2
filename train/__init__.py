"""Training: curricula as tables (`stages`), the pure device step (`step`), the host's loop (`loop`), flags (`main`)."""
