"""Where weights and tokenizers come from: names, folders, hubs, downloads and their hashes.

    find(text) -> Found          where the file lies, or how to get it (finding.py)
    Found.need() -> Path         the file; an error in words where it is not there
    file_sha256(path) -> str     the content's hash, computed once (hashes.py)

Knows files and where they come from; knows nothing of studies, tokenizers' content or torch.
"""

from harness.sources.finding import Found, find
from harness.sources.hashes import file_sha256
from harness.sources.lock import Locked
from harness.sources.places import Kind
from harness.sources.reference import HubFile, UrlFile, parse_remote

__all__ = [
    "Found",
    "HubFile",
    "Kind",
    "Locked",
    "UrlFile",
    "file_sha256",
    "find",
    "parse_remote",
]
