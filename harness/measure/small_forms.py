"""Small forms of references in the folder that travels with results.

Made of the full form, wherever that came from, so that the folder has what its records were scored
by. Knows passages and files; nothing of how a reference is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.measure.job import PassageJob, ScoredPassage
from harness.measure.reference_cache import name_of
from harness.quality.rows_file import CHUNK, RowsFile
from harness.quality.small_form import condense, joined_forms
from harness.quality.small_form_file import SMALL_SUFFIX, read_small_forms, write_small_forms


class SmallForms:
    """A folder, made when it is first written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[Path, frozenset[str]] = {}  # of the files that were read
        self._given_up: set[str] = set()

    def of(self, weights_sha256: str, passages: Sequence[PassageJob]) -> dict[str, ScoredPassage]:
        """Where those of passages lie, by their keys; a damaged file is as good as none."""
        wanted = {one.key: one for one in passages}
        places: dict[str, ScoredPassage] = {}
        for path, keys in self._files(weights_sha256).items():
            for key in keys & wanted.keys():
                places[key] = ScoredPassage(passage=wanted[key], file=str(path), small=True)
        return places

    def keep(
        self,
        weights_sha256: str,
        places: Sequence[ScoredPassage],
        on_wait: Callable[[], None] | None,
    ) -> str | None:
        """Write those of passages that lie in full, and say why that could not be, once.

        `on_wait` is called after each passage.
        """
        known = self._given_up.union(*self._files(weights_sha256).values())
        new = {one.passage.key: one for one in places if one.passage.key not in known}
        if not new:
            return None
        path = self._folder / f"{name_of(weights_sha256, [one.passage for one in new.values()])}"
        try:
            forms = {}
            for key, one in new.items():
                rows, targets = RowsFile(Path(one.file)).rows(key), one.passage.targets
                forms[key] = joined_forms(
                    condense(rows[at : at + CHUNK], targets[at : at + CHUNK])
                    for at in range(0, len(rows), CHUNK)
                )
                if on_wait is not None:
                    on_wait()
            write_small_forms(path.with_name(path.name + SMALL_SUFFIX), forms)
        except (HarnessError, OSError) as error:
            self._given_up |= new.keys()
            return f"the reference does not travel with the results: {error}"
        return None

    def _files(self, weights_sha256: str) -> dict[Path, frozenset[str]]:
        """The files of these weights that can be read, and what is in them."""
        found: dict[Path, frozenset[str]] = {}
        for path in sorted(self._folder.glob(f"{weights_sha256[:16]}-*{SMALL_SUFFIX}")):
            if path not in self._keys:
                with suppress(HarnessError):
                    self._keys[path] = frozenset(read_small_forms(path))
            if path in self._keys:
                found[path] = self._keys[path]
        return found
