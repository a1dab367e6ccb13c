"""Which tokenizer a model wants, said by the size of its vocabulary.

Knows names, where they are published, and what an installed package brings. Opens no file and no
connection: looking in folders, caches and hubs is for `harness.sources`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

PILE_VOCAB = 50_277  # logits of the Pile and Raven models
WORLD_VOCAB = 65_536  # logits of the World models
WORLD_FILE = "rwkv_vocab_v20230424.txt"

_PUBLISHED = "https://raw.githubusercontent.com/BlinkDL/ChatRWKV/main/"


@dataclass(frozen=True)
class WantedTokenizer:
    """A tokenizer by name, and where it may be had.

    name: for people.
    file_names: what the file is called, the usual name first.
    hub: `hf://owner/repo/file` where it is published on a hub, else None.
    url: where it can be downloaded, else None.
    installed: the file in a Python package of this environment, where there is one.
    sha256s: of the published file; several where it is published with different line ends, none
        where that is not known.
    """

    name: str
    file_names: tuple[str, ...]
    hub: str | None = None
    url: str | None = None
    installed: Path | None = None
    sha256s: tuple[str, ...] = ()


def wanted_tokenizer(n_vocab: int) -> WantedTokenizer | None:
    """The tokenizer that a model with `n_vocab` logits is published with.

    None for every other size: such a model's tokenizer must be named. (That of the shipped model
    comes with it, by `builtin:quickstart`.)
    """
    if n_vocab == PILE_VOCAB:
        return WantedTokenizer(
            name="the 20B tokenizer of the Pile and Raven models",
            file_names=("20B_tokenizer.json",),
            url=_PUBLISHED + "20B_tokenizer.json",
            sha256s=("56ac4821e129d2c520fdaba60abd920fa852ada51b45c0dd52bbb6bd8c985ade",),
        )
    if n_vocab == WORLD_VOCAB:
        return WantedTokenizer(
            name="the vocabulary of the World models",
            file_names=(WORLD_FILE,),
            url=_PUBLISHED + "tokenizer/" + WORLD_FILE,
            installed=installed_world_vocabulary(),
            sha256s=(
                "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89",
                "8324476023347dec2964625ccb2075c864d250a9c6d9a74f36daba628de8c008",  # with CR LF
            ),
        )
    return None


def installed_world_vocabulary() -> Path | None:
    """The World vocabulary of an installed `rwkv` package, which is looked at but not imported."""
    try:
        spec = importlib.util.find_spec("rwkv")
    except (ImportError, ValueError):  # something else of that name, half loaded
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / WORLD_FILE
        if path.is_file():
            return path
    return None
