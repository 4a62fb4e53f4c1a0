"""Checkpoints from the web: ``https://host/model.safetensors``, with ``#sha256=...`` behind it to be exactly that.

Only over HTTPS (plain HTTP on this machine alone), only safetensors, and never more than `MAX_BYTES`. What was
downloaded is kept in the user's cache and not asked for again; a ``config.json`` beside it comes along if it is there.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from ..errors import WeightsError
from .digest import digest

MAX_BYTES = 8 * 2**30  # of a file; the released weights have 0.5 GB
MAX_CONFIG_BYTES = 2**20
PIECE = 2**20  # bytes read at once
TIMEOUT_S = 30.0  # without a byte
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def is_url(source: object) -> bool:
    return isinstance(source, str) and re.match(r"\w+://", source) is not None


def download_checkpoint(source: str, cache: Path | None = None) -> Path:
    """The file of a URL, in the cache (by default ``~/.cache/dvlt_ros``).

    Raises:
        WeightsError: another protocol, no safetensors file, too large, another checksum, or nothing there.
    """
    url, fragment = urldefrag(source)
    wanted = _wanted_digest(source, fragment)
    _check_url(url)
    folder = (cache or _cache_folder()) / hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / "model.safetensors"
    if not path.is_file() or (wanted is not None and digest(path) != wanted):
        _fetch_config(urljoin(url, "config.json"), folder / "config.json")
        _fetch(url, path, MAX_BYTES, wanted)  # last: what is here is complete
    return path


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dvlt_ros"


def _wanted_digest(source: str, fragment: str) -> str | None:
    if not fragment:
        return None
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if found is None:
        raise WeightsError(f"{source}: behind # stands sha256= and 64 hexadecimal digits, got {fragment!r}")
    return found[1].lower()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        raise WeightsError(f"{url}: checkpoints are only read over https://")
    if not parts.path.endswith(".safetensors"):
        raise WeightsError(f"{url}: a checkpoint on the web must be a .safetensors file; others can run code")


class _SafeRedirects(HTTPRedirectHandler):
    """A redirect may lead elsewhere, but not out of HTTPS."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        here, there = urlsplit(req.full_url), urlsplit(newurl)
        is_local = here.hostname in LOCAL_HOSTS and there.hostname in LOCAL_HOSTS
        if there.scheme != "https" and not is_local:
            raise WeightsError(f"{req.full_url}: leads to {newurl}; checkpoints are only read over https://")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, path: Path, limit: int, wanted: str | None = None) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise WeightsError(f"{path.parent}: a download cannot be kept there: {cause.strerror}") from cause
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
        part, found = Path(scratch, path.name), hashlib.sha256()
        try:
            with part.open("wb") as file:
                for piece in _pieces(url, limit):
                    found.update(piece)
                    file.write(piece)
        except (OSError, http.client.HTTPException) as cause:
            raise WeightsError(f"{url}: cannot be downloaded: {cause}") from cause
        if wanted is not None and found.hexdigest() != wanted:
            raise WeightsError(f"{url}: the file's SHA-256 is {found.hexdigest()}, expected {wanted}")
        os.replace(part, path)


def _pieces(url: str, limit: int) -> Iterator[bytes]:
    with build_opener(_SafeRedirects).open(url, timeout=TIMEOUT_S) as answer:
        declared = answer.length  # None: not said, or no number
        if declared is not None and declared > limit:
            raise WeightsError(f"{url}: {declared:,} bytes, at most {limit:,} are downloaded")
        size = 0
        while piece := answer.read(PIECE):
            size += len(piece)
            if size > limit:
                raise WeightsError(f"{url}: more than the {limit:,} bytes that are downloaded at most")
            if size == len(piece) and url.endswith(".safetensors"):
                _check_header(url, piece)
            yield piece
        if declared is not None and size != declared:
            raise WeightsError(f"{url}: ended after {size:,} of {declared:,} bytes")


def _check_header(url: str, start: bytes) -> None:
    """A safetensors file begins with its header's length and JSON; anything else is not downloaded to its end."""
    if len(start) < 9 or start[8:9] != b"{" or int.from_bytes(start[:8], "little") > 10**8:
        raise WeightsError(f"{url}: the server's file is not safetensors")


def _fetch_config(url: str, path: Path) -> None:
    """Where there is none, the weights tell their own configuration."""
    try:
        _fetch(url, path, MAX_CONFIG_BYTES)
        json.loads(path.read_text())
    except WeightsError as error:
        if not isinstance(error.__cause__, HTTPError) or error.__cause__.code not in (403, 404):
            raise
    except ValueError as cause:
        path.unlink()
        raise WeightsError(f"{url}: not JSON: {cause}") from cause
