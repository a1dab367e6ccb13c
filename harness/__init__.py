"""rwkv-harness: reproducible benchmarks of RWKV-4 language models."""

__version__ = "0.1.0"
