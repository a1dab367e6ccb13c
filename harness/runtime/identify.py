"""Say what a file is that is not a checkpoint, from its first bytes."""

from __future__ import annotations


def describe_file(start: bytes) -> str:
    """A sentence about a file that begins with `start` and holds no weights we can read."""
    text = start.lstrip().lower()
    if not start:
        return "the file is empty. Download it again."
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page, not weights: the download saved an error page. Download it again."
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves. Run 'git lfs pull', or download it."
    if start.startswith((b"GGUF", b"lmgg", b"fmgg", b"tjgg", b"ggmf", b"ggml")):
        return "a ggml file (rwkv.cpp or llama.cpp), not an original RWKV-4 checkpoint."
    if start.startswith(b"\x80") and len(start) > 1 and start[1] <= 5:
        return (
            "a bare pickle (torch before 1.6 wrote these), which could run any code; refused. "
            "Load it with torch on a machine you trust, and save it again."
        )
    if start.startswith(b"\x1f\x8b"):
        return "a gzip archive. Unpack it first."
    return "not a .pth of torch.save and not safetensors."
