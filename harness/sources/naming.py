"""Which file a bare name means: `RWKV-4-Raven-3B-v12…`, `raven-3b`.

Looks in $HARNESS_MODELS, models.yaml, ./models, the hub's cache and the downloads, in this order:
for the name with or without its suffix, in other capitals, and last as a part of one single name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path

from harness.errors import SourceError
from harness.invocation import command_line
from harness.sources.paths import real
from harness.sources.places import (
    SUFFIXES,
    VARIABLE,
    Candidate,
    Kind,
    in_downloads,
    in_folders,
    in_hub_cache,
)
from harness.sources.random_weights import size_meant
from harness.sources.settings import Entry, read_settings

_WORD = re.compile(r"[^-_. ]+")


def look_up(name: str, kind: Kind, *, without: Collection[str] = ()) -> Candidate | Entry | None:
    """The file or the entry of models.yaml that `name` means; None where there is none.

    `without` are entries that must not be used. Raises `SourceError` where it means several files.
    """
    settings = read_settings() if kind == "weights" else {}
    settings = {key: entry for key, entry in settings.items() if key not in without}
    candidates = list(_candidates(kind))
    for same in (_equal, _equal_folded):
        entry = _entry(settings, name, folded=same is _equal_folded)
        hit = _of_first_place([one for one in candidates if same(name, one.path.name)], name)
        if entry is not None and (hit is None or hit.place != f"${VARIABLE}"):
            return entry
        if hit is not None:
            return hit
    if kind != "weights" or name.endswith(SUFFIXES[kind]):
        return None
    hits = [one for one in candidates if _is_part(name, one.path.stem)]
    by_name = {one.path.name: one for one in reversed(hits)}  # of one name, the first place's
    only(name, [one.path for one in by_name.values()])
    return hits[0] if hits else None


def only(text: str, paths: Iterable[Path]) -> Path | None:
    """The one of `paths` that is a file of its own; raises `SourceError` where there are more."""
    different = {real(path): path for path in reversed(list(paths))}
    if len(different) > 1:
        listed = "".join(f"\n  {path}" for path in sorted(different.values()))
        raise SourceError(f"'{text}' means more than one file; write more of the name:{listed}")
    return next(iter(different.values()), None)


def nearest_names(name: str, kind: Kind) -> str:
    """` Nearest: a, b.` of what there is, or the command that lists it; before it, a size meant."""
    size = size_meant(name) if kind == "weights" else ""
    names = dict.fromkeys(one.path.stem for one in _candidates(kind))
    if kind == "weights":
        names |= dict.fromkeys(read_settings())
    by_fold = {one.casefold(): one for one in names}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.5)
    if not close:
        if kind == "lambada":
            return ""
        return f"{size} See what is there: {command_line('models')}"
    return f"{size} Nearest: {', '.join(by_fold[one] for one in close)}."


def _candidates(kind: Kind) -> Iterable[Candidate]:
    # Every other model of a hub has its `tokenizer.json`: a name says too little there.
    hub = in_hub_cache(kind) if kind == "weights" else ()
    return chain(in_folders(kind), hub, in_downloads(kind))


def _equal(name: str, file: str) -> bool:
    return name in _spellings(file)


def _equal_folded(name: str, file: str) -> bool:
    return name.casefold() in {spelling.casefold() for spelling in _spellings(file)}


def _spellings(file: str) -> set[str]:
    """The file's name, also without suffix, and as it was before a URL wrote `%25` for its `%`."""
    whole = {file, file.replace("%25", "%")}
    return whole | {Path(spelling).stem for spelling in whole}


def _entry(settings: Mapping[str, Entry], name: str, *, folded: bool) -> Entry | None:
    if not folded:
        return settings.get(name)
    return next((settings[key] for key in settings if key.casefold() == name.casefold()), None)


def _of_first_place(hits: list[Candidate], name: str) -> Candidate | None:
    """The one file of the first place that has any."""
    own = [one for one in hits if one.place == hits[0].place]
    path = only(name, [one.path for one in own])
    return next((one for one in own if one.path == path), None)


def _is_part(name: str, stem: str) -> bool:
    """Whether `raven-3b` is some successive words of `RWKV-4-Raven-3B-v12-Eng98%`."""
    wanted, words = _WORD.findall(name.casefold()), _WORD.findall(stem.casefold())
    return bool(wanted) and any(
        words[start : start + len(wanted)] == wanted
        for start in range(len(words) - len(wanted) + 1)
    )
