"""The version, alone in its file so that `jaxdyn --version` answers without importing JAX."""

__version__ = "0.1.0"
