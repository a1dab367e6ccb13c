"""Fetch one file over HTTP into a partial file, going on where an earlier try stopped.

The partial file is all that is ever written: whoever calls checks it and renames it. Written by
hand because the hub's library keeps no partial file between two runs, and others have no library.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from harness.errors import DownloadError
from harness.sizes import size as written
from harness.sources.hashes import OnBytes
from harness.sources.reference import without_secrets

_TRIES = 5  # in a row that bring no byte
_TRIES_AT_FIRST = 2  # before any byte came: then there may be no network at all
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 2**20
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror)
_HOPELESS = (socket.gaierror, ssl.SSLCertVerificationError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOTDIR)
_SECRET_HEADERS = ("authorization", "cookie")
_USER_AGENT = "rwkv-harness"


_pause = time.sleep  # between two tries; tests do not wait


class HttpStatusError(DownloadError):
    """A server answered with an error; `status` is its number."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to fetch."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None  # bytes of the whole file, where they are known
    other_size: str = ""  # what to do where the server has another size
    etag: str | None = None  # that the partial file began with; None: begin anew, unless checked
    checked: bool = False  # the content's hash is known, so going on can do no harm


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What came."""

    size: int
    etag: str | None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and tells no other server a token or password."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and _server(newurl) != _server(req.full_url):
            new.headers = {
                name: value
                for name, value in new.headers.items()
                if name.lower() not in _SECRET_HEADERS
            }
        return new


def fetch(
    wanted: Wanted,
    part: Path,
    on_bytes: OnBytes,
    on_etag: Callable[[str | None], None] = lambda _etag: None,
) -> Fetched:
    """Bring `part` to the whole file; keeps what came when it has to stop.

    `on_etag` hears which version of the file is coming, before its bytes. Raises `DownloadError`
    in words: no network, an error of the server, a web page in place of the file, a full disk.
    """
    tries, came = 0, False
    while True:
        before = _size(part)
        begun: list[str | None] = []

        def begin(etag: str | None, begun: list[str | None] = begun) -> None:
            begun.append(etag)
            on_etag(etag)

        got = _attempt(wanted, part, on_bytes, begin)
        if isinstance(got, Fetched):
            return got
        if begun:  # what came since belongs to the version that this answer named
            wanted = replace(wanted, etag=begun[-1], checked=True)
        came = came or _size(part) > before
        tries = 1 if _size(part) > before else tries + 1
        if tries >= (_TRIES if came else _TRIES_AT_FIRST) or isinstance(got, _HOPELESS):
            raise DownloadError(_no_network(wanted, part, got)) from got
        _pause(0.2 * 2**tries)


def _attempt(
    wanted: Wanted, part: Path, on_bytes: OnBytes, on_etag: Callable[[str | None], None]
) -> Fetched | Exception:
    """The whole file, or what broke off a try after which another may help."""
    try:
        with part.open("ab") as file:
            return _once(wanted, file, on_bytes, on_etag)
    except urllib.error.HTTPError as error:
        with closing(error):
            if error.code < 500 and error.code not in (408, 429):
                raise HttpStatusError(error.code, _refusal(wanted, error)) from error
        return error
    except _BROKEN as error:
        return error
    except urllib.error.URLError as error:
        return error.reason if isinstance(error.reason, Exception) else error
    except OSError as error:
        if error.errno in _DISK:
            raise disk_error(error, part, wanted.size) from error
        return error


def _once(
    wanted: Wanted, file: IO[bytes], on_bytes: OnBytes, on_etag: Callable[[str | None], None]
) -> Fetched:
    have = file.tell()
    if have and not (wanted.etag or wanted.checked):
        file.truncate(0)
        have = 0
    if wanted.size is not None and have >= wanted.size:
        if have == wanted.size:
            return Fetched(size=have, etag=wanted.etag)
        file.truncate(0)
        have = 0
    with _open(wanted, have) as answer:
        _refuse_page(wanted, answer)
        _refuse_coded(wanted, answer)
        etag = answer.headers.get("ETag")
        begins = _begins_at(answer)
        other = bool(begins and wanted.etag) and etag != wanted.etag
        if begins != have or other:
            file.truncate(0)
            if begins:
                raise http.client.HTTPException("the server sent another part than was asked for")
        on_etag(etag)
        size = _whole_size(answer, begins)
        _check_size(wanted, size)
        _check_room(file.name, None if size is None else size - begins)
        done = begins
        while chunk := answer.read1(_CHUNK_BYTES):  # what is there, however little
            file.write(chunk)
            file.flush()  # what came stays, also after `kill -9`
            done += len(chunk)
            on_bytes(done, size or 0)
        os.fsync(file.fileno())
    if size is not None and done != size:
        raise http.client.IncompleteRead(b"", size - done)
    return Fetched(size=done, etag=etag)


def _open(wanted: Wanted, have: int) -> Any:
    url, headers = _without_login(wanted.url)
    headers |= {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **wanted.headers}
    if have:
        headers["Range"] = f"bytes={have}-"
        if wanted.etag and not wanted.etag.startswith("W/"):
            headers["If-Range"] = wanted.etag
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s) only, parsed
    opener = urllib.request.build_opener(
        _Redirects(), urllib.request.HTTPSHandler(context=_certificates())
    )
    return opener.open(request, timeout=_TIMEOUT_S)


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that says them."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return url, {}
    user, _, password = login.partition(":")
    secret = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode("ascii")
    plain = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return plain, {"Authorization": f"Basic {secret}"}


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _certificates() -> ssl.SSLContext:
    """The system's certificates, or those of certifi where Python was built without any."""
    named = os.environ.get("REQUESTS_CA_BUNDLE")
    paths = ssl.get_default_verify_paths()
    if named is None and paths.cafile is None and paths.capath is None:
        with suppress(ImportError):
            named = import_module("certifi").where()
    return ssl.create_default_context(cafile=named)


def _begins_at(answer: Any) -> int:
    if answer.status != 206:
        return 0
    unit, _, rest = (answer.headers.get("Content-Range") or "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _whole_size(answer: Any, begins: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return begins + int(length) if length is not None and length.isdigit() else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- what can go wrong, in words ---------------------------------------------------------------


def _refuse_page(wanted: Wanted, answer: Any) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise DownloadError(
            f"{without_secrets(wanted.url)}: the answer is a web page, not a file. Either the link "
            "is that of a page, or a proxy or login stands in between. Open it in a browser."
        )


def _refuse_coded(wanted: Wanted, answer: Any) -> None:
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise DownloadError(
            f"{without_secrets(wanted.url)}: the server sends the file as {coding}, though it was "
            "asked for it as it is. Download it by other means, and name its path."
        )


def _check_size(wanted: Wanted, size: int | None) -> None:
    if None not in (wanted.size, size) and size != wanted.size:
        raise DownloadError(
            f"{without_secrets(wanted.url)}: the server has {size} bytes, and {wanted.size} were "
            f"expected: the file was changed there. {wanted.other_size}".rstrip()
        )


def _check_room(part: str, missing: int | None) -> None:
    free = shutil.disk_usage(Path(part).parent).free
    if missing is not None and missing > free:
        raise OSError(errno.ENOSPC, f"{missing} bytes are to come, {free} are free", part)


def disk_error(error: OSError, part: Path, size: int | None) -> DownloadError:
    """What the disk of `part` refused, in words; `size` is what is needed there in all."""
    folder = part.parent
    if error.errno in _FULL:
        need = "" if size is None else f" ({written(size)} are needed in all)"
        return DownloadError(
            f"{folder}: the disk is full{need}: {error.strerror}. What came is kept; make room and "
            "give the same command again, or name another folder with --to."
        )
    return DownloadError(
        f"{folder}: cannot be written ({error.strerror or error}). Name another folder with --to."
    )


def _refusal(wanted: Wanted, error: urllib.error.HTTPError) -> str:
    shown = without_secrets(wanted.url)
    if error.code in (401, 403, 407):
        return f"{shown}: the server wants to know who asks (HTTP {error.code})."
    if error.code in (404, 410):
        return f"{shown}: there is no such file (HTTP {error.code}). Check the link in a browser."
    return f"{shown}: the server answered HTTP {error.code} {error.reason}."


def _no_network(wanted: Wanted, part: Path, error: Exception) -> str:
    kept = f" {_size(part)} bytes are kept." if _size(part) else ""
    host = urlsplit(wanted.url).hostname
    return (
        f"{without_secrets(wanted.url)}: {host} cannot be reached or broke off "
        f"({_words(error)}).{kept} Give the same command again to go on."
    )


def _words(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"{error.expected} bytes are missing"
    text = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
    return str(text) or type(error).__name__
