"""What a stage of a strategy may be, and what is meant by one that is none. No torch.

Knows spellings: of devices, number formats and counts. Nothing of slots or of plans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

STAGE = re.compile(
    r"(?P<device>cuda(?::[0-9]{1,3})?|mps|cpu) (?P<dtype>fp32|fp16|bf16)(?P<int8>i8)?"
    r"(?: \*(?P<count>[0-9]{1,6})(?P<stream>\+)?)?"
)
GRAMMAR = (
    "A stage is DEVICE DTYPE [*COUNT[+]] with single spaces: device cuda, cuda:N, mps or cpu; "
    "dtype fp32, fp16 or bf16, with i8 appended for int8 weights; e.g. "
    "'cuda fp16i8 *20 -> cpu fp32'."
)
_DEVICES = ("cuda", "mps", "cpu")
_DTYPES = ("fp32", "fp16", "bf16", "fp32i8", "fp16i8", "bf16i8")
_OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}
_NOT_OURS = ("fp64", "fp8", "tf32")  # formats that there are, and no slips
_ARROW = re.compile(r"[-=]{0,3}\s?>|→")
_LOOSE = re.compile(r"(?P<device>\S+)(?: (?P<dtype>[a-z0-9_ -]+?))?(?P<count> \*[0-9]{1,6}\+?)?")
_ENOUGH = 0.7  # alike; 'tpu' and 'cpu', which are two devices, are less


def what_is_wrong(stage: str, strategy: str) -> str:
    """The likeliest slip in a stage that is none, with what to write instead of the strategy."""
    if re.search(r"i[34]\b", stage):
        better = re.sub(r"i[34]\b", "i8", stage)
        better = _strategy_meant(better) or better
        return (
            f"stage '{stage}' asks for 4-bit or 3-bit weights, which do not exist (the official "
            f"package takes the word and does not quantise). Write '{better}' for int8."
        )
    if re.search(r"\*[0-9]{7}", stage):
        return "a count of slots has more than 6 digits."
    better = _strategy_meant(strategy) or _stage_meant(stage) or ""
    hint = f" Did you mean '{better}'?" if better else ""
    if not stage:
        return f"a stage is empty.{hint}"
    device = stage.split(" ", maxsplit=1)[0]
    if not hint and not re.fullmatch(r"cuda(:[0-9]{1,3})?|mps|cpu", device):
        return f"stage '{stage}' has the unknown device '{device}'."
    return f"stage '{stage}' is not valid.{hint}"


def _strategy_meant(strategy: str) -> str | None:
    """A strategy whose stages are all clear, as it is spelled."""
    meant = [_stage_meant(stage) for stage in _ARROW.split(strategy) if stage.strip()]
    return " -> ".join(filter(None, meant)) if all(meant) else None


def _stage_meant(stage: str) -> str | None:
    """The stage that is clearly meant, in its own spelling; None where it could be several."""
    text = re.sub(r"\s*\*\s*", " *", " ".join(stage.lower().split()))
    text = re.sub(r"^(cuda(?::[0-9]{1,3})?|mps|cpu)(?=[fb])", r"\1 ", text)
    text = re.sub(r"^(\S+ \S+) (?:[x×] ?)?([0-9]+\+?)$", r"\1 *\2", text)
    loose = _LOOSE.fullmatch(text)
    device = None if loose is None else _device_meant(loose["device"])
    if loose is None or device is None:
        return None
    dtype = _dtype_meant(re.sub(r"[ _-]", "", loose["dtype"] or ""), device)
    found = f"{device} {dtype}{loose['count'] or ''}"
    return found if STAGE.fullmatch(found) else None


def _device_meant(word: str) -> str | None:
    parts = re.fullmatch(r"([a-z]+)[:_-]?([0-9]{0,3})", word)
    if parts is None:
        return None
    name = _OTHER_NAMES.get(parts[1]) or _nearest(parts[1], _DEVICES)
    return f"{name}:{parts[2]}" if name == "cuda" and parts[2] else name


def _dtype_meant(word: str, device: str) -> str | None:
    """A dtype that is left out, or is `i8` alone, is the device's usual one."""
    usual = "fp32" if device == "cpu" else "fp16"
    word = re.sub(r"(int8|8bit)$", "i8", re.sub(r"^(float|f)(?=[0-9])", "fp", word))
    word = word.replace("bfloat", "bf")
    return usual + word if word in ("", "i8") else _nearest(word, _DTYPES)


def _nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that is clearly nearer to `word` than any other, and near enough."""
    if word in _NOT_OURS:
        return None
    letters = sorted(word)

    def likeness(name: str) -> tuple[bool, float, int]:
        in_place = sum(one == other for one, other in zip(word, name, strict=False))
        return sorted(name) == letters, SequenceMatcher(None, word, name).ratio(), in_place

    best, second = sorted(names, key=likeness, reverse=True)[:2]
    is_swapped, ratio, _ = likeness(best)
    is_clear = likeness(best) > likeness(second)
    return best if is_clear and (is_swapped or ratio >= _ENOUGH) else None
