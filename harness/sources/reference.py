"""What a text says of where a file is to be had: a file of a hub, a URL, or neither.

Pure: spelling only, nothing is looked up. No password and no signature of a URL is ever shown.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from harness.errors import SourceError

HUB = "hf://"
DEFAULT_ENDPOINT = "https://huggingface.co"
MAIN = "main"

_URL = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRET = re.compile(r"token|key|sig|secret|passw|auth|credential|expires", re.IGNORECASE)
_LINKS = ("blob", "resolve", "raw")  # what stands between repository and revision in a link
_EXAMPLE = "hf://BlinkDL/rwkv-4-raven/FILE.pth"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a model repository of the Hugging Face hub, or of what HF_ENDPOINT names."""

    repo: str  # owner/name
    file: str  # its path in the repository, not percent-encoded
    revision: str = MAIN  # branch, tag or commit

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.file.rsplit("/", 1)[-1]

    @property
    def shown(self) -> str:
        """`hf://owner/repo/file[@revision]`; the one spelling of it, also in a lock."""
        at = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{HUB}{self.repo}/{self.file}{at}"

    @property
    def url(self) -> str:
        """Where a browser would get it."""
        revision = quote(self.revision, safe="")
        return f"{endpoint()}/{self.repo}/resolve/{revision}/{quote(self.file)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlFile:
    """A file of any other server."""

    request: str = field(repr=False)  # what is asked for; may hold a password: never shown
    name: str  # the local name: the last part of the path, decoded

    @property
    def shown(self) -> str:
        """The URL without user, password, fragment and signatures; also its name in a lock."""
        parts = urlsplit(self.request)
        host = parts.netloc.rpartition("@")[2]
        query = urlencode(
            [
                (name, "***" if _SECRET.search(name) else value)
                for name, value in parse_qsl(parts.query, keep_blank_values=True)
            ],
            safe="*/:,",
        )
        return urlunsplit((parts.scheme, host, parts.path, query, ""))

    @property
    def url(self) -> str:
        """Where a browser would get it."""
        return self.shown

    @property
    def key(self) -> str:
        """A folder's name that is its own."""
        return hashlib.sha256(self.shown.encode()).hexdigest()[:16]


Remote: TypeAlias = HubFile | UrlFile


def endpoint() -> str:
    """The hub in use: `$HF_ENDPOINT`, else the public one; without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def parse_remote(text: str) -> Remote | None:
    """The file of a hub or server that `text` names; None for a path or a name.

    Raises `SourceError` for a URL that names no file, or that no server has.
    """
    if text.startswith(HUB):
        return _hub_file(text)
    if _URL.match(text):
        return _link(text)
    if _SCHEME.match(text):
        scheme = text.split("://", 1)[0]
        raise SourceError(f"'{scheme}://' is not read here. Allowed: a path, hf://, https://.")
    return None


def without_secrets(text: str) -> str:
    """`text` as it may be shown: a URL loses its password."""
    try:
        remote = parse_remote(text)
    except SourceError:
        return re.sub(r"//[^/@]*@", "//", text)
    return text if remote is None or isinstance(remote, HubFile) else remote.shown


def _hub_file(text: str) -> HubFile:
    rest, at, revision = text[len(HUB) :].rpartition("@")
    if not at:
        rest, revision = revision, MAIN
    parts = rest.split("/")
    if len(parts) < 3 or not revision:
        raise SourceError(f"'{text}' does not name a file of a hub. Write it as {_EXAMPLE}[@REV].")
    return _checked(text, "/".join(parts[:2]), _decoded("/".join(parts[2:])), revision)


def _decoded(name: str) -> str:
    """A name as the hub has it, where it was pasted from a URL: `98%25` becomes `98%`."""
    return name if _BARE_PERCENT.search(name) else unquote(name)


def _link(text: str) -> Remote:
    shown = re.sub(r"//[^/@]*@", "//", text)
    if _BARE_PERCENT.search(text):
        raise SourceError(f"'{shown}' has a bare '%'. A URL writes it '%25'.")
    try:
        parts = urlsplit(text.strip())
        host, _port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise SourceError(f"'{shown}' is not a URL ({error}).") from None
    if not host:
        raise SourceError(f"'{shown}' is not a URL: it names no server.")
    segments = [segment for segment in parts.path.split("/") if segment]
    mirror = urlsplit(endpoint())
    if host in _HUB_HOSTS or parts.netloc.rpartition("@")[2] == mirror.netloc:
        if segments[:1] not in (["datasets"], ["spaces"]):
            return _hub_link(shown, segments)
        segments = ["resolve" if part == "blob" else part for part in segments]
    elif host == "github.com" and segments[2:3] == ["blob"]:
        segments[2] = "raw"  # `blob` is a page that shows the file
    name = unquote(segments[-1]) if segments else ""
    if not _is_file_name(name):
        raise SourceError(f"'{shown}' names no file: its path ends in '{name}'.")
    path = "/" + "/".join(segments)
    return UrlFile(
        request=urlunsplit((parts.scheme.lower(), parts.netloc, path, parts.query, "")), name=name
    )


def _hub_link(shown: str, segments: list[str]) -> HubFile:
    for place in (1, 2):
        if segments[place : place + 1] and segments[place] in _LINKS and len(segments) > place + 2:
            repo = "/".join(segments[:place])
            file = unquote("/".join(segments[place + 2 :]))
            return _checked(shown, repo, file, unquote(segments[place + 1]))
    raise SourceError(
        f"'{shown}' is a page of the hub, not a file. Copy the link of a file of it, or write it "
        f"as {_EXAMPLE}."
    )


def _checked(shown: str, repo: str, file: str, revision: str) -> HubFile:
    good = all(_REPO_PART.fullmatch(part) for part in repo.split("/")) and "--" not in repo
    if not good:
        raise SourceError(f"'{shown}': '{repo}' is no name of a repository (owner/name).")
    for what, path in (("file", file), ("revision", revision)):
        if not all(_is_file_name(part) for part in path.split("/")):
            raise SourceError(f"'{shown}': '{path}' is no {what} of a repository.")
    return HubFile(repo=repo, file=file, revision=revision)


def _is_file_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and name.isprintable()  # which no half of a surrogate pair is
        and len(name.encode()) < 256
        and not set(name) & {"/", "\\"}
    )
