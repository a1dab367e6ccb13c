"""Ask a hub through its own library: what it has, and the place of a file in its cache.

The library finds the token, the endpoint and the cache, and knows their layout. The bytes come by
`transfer.py`, which can go on after an interruption, and are checked before the cache has them.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DownloadError, MissingExtra
from harness.sources.hub_cache import hub_cache
from harness.sources.reference import HubFile, endpoint

_HASH = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@dataclass(frozen=True, kw_only=True, slots=True)
class HubVersion:
    """What a hub has at a revision."""

    commit: str
    etag: str  # of weights their sha256, of small files git's sha1
    size: int | None  # bytes
    headers: dict[str, str]  # to be sent to the hub and to nobody else

    @property
    def sha256(self) -> str | None:
        """The content's sha256, where the hub says it."""
        return self.etag if len(self.etag) == 64 else None


def ask_hub(file: HubFile, revision: str | None = None) -> HubVersion:
    """What the hub has of `file` at `revision` (its own by default).

    Raises `MissingExtra` without the library, `DownloadError` in words for what goes wrong.
    """
    library = _library()
    at = HubFile(repo=file.repo, file=file.file, revision=revision or file.revision)
    try:
        token = _token()
        version = library.get_hf_file_metadata(at.url, token=token)
        headers = dict(library.utils.build_hf_headers(token=token))
    except Exception as error:  # the library, and those below it, raise what they like
        raise _in_words(error, at) from error
    # Both become names of files: what is none of a hub's must not lead elsewhere.
    if not all(_HASH.fullmatch(said or "") for said in (version.commit_hash, version.etag)):
        raise DownloadError(
            f"{at.shown}: {endpoint()} answered, but not as a hub does. A proxy or login page may "
            "stand in between."
        )
    return HubVersion(
        commit=version.commit_hash, etag=version.etag, size=version.size, headers=headers
    )


def blob_path(file: HubFile, version: HubVersion) -> Path:
    """Where the content lies in the hub's cache."""
    folder = f"models--{file.repo.replace('/', '--')}"
    return hub_cache() / folder / "blobs" / version.etag


def enter_cache(file: HubFile, revision: str | None = None) -> Path:
    """Have the library link the blob, which is in place, under the file's name; returns that."""
    library = _library()
    at = HubFile(repo=file.repo, file=file.file, revision=revision or file.revision)
    try:
        path: str = _quiet(
            library,
            lambda: library.hf_hub_download(
                at.repo, at.file, revision=at.revision, cache_dir=str(hub_cache()), token=_token()
            ),
        )
    except Exception as error:  # as above
        raise _in_words(error, at) from error
    return Path(path)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    return huggingface_hub


def _quiet(library: Any, call: Callable[[], str]) -> str:
    """Without the library's own progress bars, of which ours would know nothing."""
    was_off = library.utils.are_progress_bars_disabled()
    library.utils.disable_progress_bars()
    try:
        return call()
    finally:
        if not was_off:
            library.utils.enable_progress_bars()


def _token() -> str | None:
    """The token of the environment; None lets the library look where a login left one."""
    return next((os.environ[name] for name in _TOKENS if os.environ.get(name)), None)


# -- what can go wrong, in words ---------------------------------------------------------------


def _in_words(error: Exception, file: HubFile) -> DownloadError:
    if isinstance(error, DownloadError):
        return error
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if kind == "OfflineModeIsEnabled":
        return DownloadError(f"{file.shown}: HF_HUB_OFFLINE is set; unset it to download.")
    if status in (401, 403) or kind in ("GatedRepoError", "RepositoryNotFoundError"):
        return DownloadError(_closed(file, kind, status))
    if status == 404 and kind == "RevisionNotFoundError":
        return DownloadError(
            f"{file.shown}: the repository has no revision '{file.revision}' (any more)."
        )
    if status == 404:
        return DownloadError(f"{file.shown}: the repository has no such file.{_nearest(file)}")
    if status is not None:
        return DownloadError(f"{file.shown}: {endpoint()} answered HTTP {status}. Try again later.")
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return DownloadError(f"{error.filename}: {error.strerror}.")
    return DownloadError(
        f"{file.shown}: {endpoint()} cannot be reached ({_innermost(error)}). Check the network; "
        "HF_ENDPOINT names another hub."
    )


def _innermost(error: BaseException) -> str:
    """What the system said, below all the wrappings of the libraries."""
    words = ""
    below: BaseException | None = error
    while below is not None:
        words = getattr(below, "strerror", None) or words
        below = below.__cause__ or below.__context__
    lines = str(error).strip().splitlines()
    return words or (lines[0][:200] if lines else type(error).__name__)


def _closed(file: HubFile, kind: str, status: int | None) -> str:
    token = "The token in HF_TOKEN" if _token() else "Without a token (HF_TOKEN) the hub"
    may_not = "does not open it" if _token() else "does not show it"
    if kind == "RepositoryNotFoundError":
        return (
            f"{file.shown}: there is no repository {file.repo}, or it is private. "
            f"{token} {may_not}. Check the spelling on {endpoint()}."
        )
    return (
        f"{file.shown}: the repository is gated or private (HTTP {status or 401}). Accept its "
        f"terms on {endpoint()}/{file.repo}, and set HF_TOKEN to a token of yours."
    )


def _nearest(file: HubFile) -> str:
    """The names in the repository that are most like this one."""
    try:
        api = _library().HfApi(endpoint=endpoint(), token=_token())
        names = api.list_repo_files(file.repo, revision=file.revision)
    except Exception:  # it was only to help  # noqa: BLE001
        return f" See {endpoint()}/{file.repo}/tree/{file.revision}."
    close = difflib.get_close_matches(file.file, names, n=3, cutoff=0.5) or sorted(names)[:5]
    return "".join([" It has:", *(f"\n  {name}" for name in close)])
