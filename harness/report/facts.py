"""Facts, flattened to dotted names, and those that did not stay the same within a run.

Knows JSON values and the form `{"unavailable": "why"}`; how one is printed, and for what it must
match, its declaration says (`harness/machine/declared.py`). Only the installed distributions are
known by name: a hundred of them are one fact here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from harness.machine.declared import LOADING, about, shown
from harness.machine.kinds import plain
from harness.records.record import Record
from harness.report.format import MISSING, count
from harness.report.values import Fact, FactDifference

UNAVAILABLE = "unavailable"
_IDENTITY = "identity"  # of a run's facts: what makes another run one of the same
# A fact that differs because the study varies one of these is no surprise. Strategies are not among
# them: each may have only one record, and then a change of driver between two would look explained.
_AXES: Mapping[str, Callable[[Record], Any]] = {
    "model": lambda record: record.cell.model,
    "engine": lambda record: record.cell.engine,
    "threads": lambda record: record.cell.threads,
}
DISTRIBUTIONS, DISTRIBUTIONS_SHA256 = "distributions", "distributions_sha256"
SHORT_HASH = 12  # digits of a hash that are shown where it is one of several things
# Of many distributions that differ, these are named first: they compute.
_COMPUTING = ("torch", "rwkv", "numpy", "tokenizers", "safetensors")
_NOT_SET = "not set"  # a part of a fact, where the others are known
_NAMED = 4  # distributions that a difference names; of the others, how many


def flatten(facts: Mapping[str, Any], prefix: str = "") -> tuple[Fact, ...]:
    """Each leaf as one fact, in the order of the mapping; a list of plain values is a leaf.

    The distributions are one leaf, and their hash a part of it.
    """
    flat: list[Fact] = []
    summed_up = not prefix and _is_filled(facts.get(DISTRIBUTIONS))
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if summed_up and key == DISTRIBUTIONS:
            flat.append(_distributions(value, facts.get(DISTRIBUTIONS_SHA256)))
        elif summed_up and key == DISTRIBUTIONS_SHA256:
            continue
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            flat.extend(flatten({str(at): item for at, item in enumerate(value)}, f"{name}."))
        elif not isinstance(value, Mapping):
            flat.append(_fact(name, value))
        elif set(value) == {UNAVAILABLE}:
            flat.append(Fact(name=name, value=None, why_missing=str(value[UNAVAILABLE])))
        else:
            flat.extend(flatten(value, f"{name}."))
    return tuple(flat)


def all_facts(facts: Mapping[str, Any], records: Sequence[Record]) -> tuple[Fact, ...]:
    """The run's facts, and those of its records beyond them that never differ.

    What all records say is what ran; the run's own facts may be older than a run that went on.
    A fact that is missing in one record is not, where another has its parts.
    """
    own = {name: value for name, value in facts.items() if name != _IDENTITY}
    known = {fact.name: fact for fact in (*flatten(own), *_identity(facts.get(_IDENTITY)))}
    for record in records:
        for fact in flatten(record.facts):
            if fact.value is not None or fact.name not in known:
                known[fact.name] = fact
    differing = {change.name for change in differences(records)}
    wholes = {name for fact in known.values() for name in _wholes(fact)}
    return tuple(
        fact
        for fact in known.values()
        if fact.name not in differing and (fact.value is not None or fact.name not in wholes)
    )


def _identity(identity: Any) -> list[Fact]:
    """Hashes of the study and its models, by the names of the facts that records have of them.

    Of several models each has its own. The versions beside them are facts anyway, and a file that
    was not there, or was not needed, has no hash.
    """
    if not isinstance(identity, Mapping):
        return []
    found = [("study_sha256", "study_sha256", identity.get("study_sha256"))]
    models = identity.get("models")
    hashes = models.items() if isinstance(models, Mapping) else ()
    for model, of_files in hashes:
        of = f" of {model}" if len(hashes) > 1 else ""
        if isinstance(of_files, Mapping):
            found += [(f"{name}{of}", name, value) for name, value in of_files.items()]
    return [
        structs.replace(_fact(declared, value), name=name, declared_as=declared)
        for name, declared, value in found
        if value is not None
    ]


def differences(records: Iterable[Record]) -> tuple[FactDifference, ...]:
    """Facts with more than one value among the records; what is unavailable is no value.

    A part that a mapping or list does not have is one: a variable that was set only later.
    """
    seen: dict[str, list[tuple[str, Record]]] = {}
    sets: dict[str, Mapping[str, str]] = {}  # text of the distributions -> the distributions
    printed: dict[str, dict[str, str]] = {}  # name -> value -> the value as it is printed
    flat = [(record, flatten(record.facts)) for record in records]
    for record, facts in flat:
        for fact in facts:
            if fact.value is not None:
                seen.setdefault(fact.name, []).append((fact.value, record))
                printed.setdefault(fact.name, {})[fact.value] = fact.shown or fact.value
                if fact.listed:
                    sets[fact.value] = fact.listed
    for record, facts in flat:
        for name in _lacking(seen, record, facts):
            seen[name].append((_NOT_SET, record))
            printed[name][_NOT_SET] = _NOT_SET
    found = []
    for name, said in sorted(seen.items()):
        counts: dict[str, int] = {}
        for value, _ in said:
            counts[value] = counts.get(value, 0) + 1
        if len(counts) > 1:
            declared = about(name)
            found.append(
                FactDifference(
                    name=name,
                    values=_printed(counts, printed[name]),
                    follows=_follows(name, said),
                    says=distribution_changes(list(sets.values()))
                    if name == DISTRIBUTIONS
                    else None,
                    must_match=None if declared is None else declared.must_match,
                )
            )
    return tuple(found)


def _printed(counts: Mapping[str, int], printed: Mapping[str, str]) -> dict[str, int]:
    """The values as they are printed; as they are where rounding would make two of them equal."""
    if len({printed[value] for value in counts}) < len(counts):
        return dict(counts)
    return {printed[value]: n for value, n in counts.items()}


def distribution_changes(sets: Sequence[Mapping[str, str]]) -> str:
    """`torch 2.0.1 / 2.13.0, wheel 0.40 / –; 3 more`: what is not the same in all sets."""
    names = {name for one in sets for name in one}
    differing = [name for name in names if len({one.get(name) for one in sets}) > 1]
    first = {name: at for at, name in enumerate(_COMPUTING)}
    differing.sort(key=lambda name: (first.get(name, len(first)), name))
    said = [
        f"{name} {' / '.join(dict.fromkeys(one.get(name, MISSING) for one in sets))}"
        for name in differing[:_NAMED]
    ]
    more = len(differing) - len(said)
    return ", ".join(said) + (f"; {more} more" if more else "")


def find(facts: Iterable[Fact], names: Sequence[str]) -> str | None:
    """The value of the first of `names` that is known."""
    known = {fact.name: fact.value for fact in facts if fact.value is not None}
    return next((known[name] for name in names if name in known), None)


def _wholes(fact: Fact) -> list[str]:
    """The names of what a known fact is a part of: `gpus` and `gpus.0` of `gpus.0.ecc`."""
    names = fact.name.split(".") if fact.value is not None else []
    return [".".join(names[:end]) for end in range(1, len(names))]


def _lacking(names: Iterable[str], record: Record, facts: Iterable[Fact]) -> list[str]:
    """Parts of facts that others have, and this record's do not."""
    there = {fact.name for fact in facts}
    absent = [name for name in names if name not in there]
    return [name for name in absent if _has_parts(record.facts.get(name.partition(".")[0]))]


def _has_parts(value: Any) -> bool:
    """Whether a fact is known, and of several parts; it may have none of them."""
    return isinstance(value, list) or (isinstance(value, Mapping) and set(value) != {UNAVAILABLE})


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and set(value) != {UNAVAILABLE}


def _distributions(versions: Mapping[str, Any], sha256: Any) -> Fact:
    digits = f", sha256 {sha256[:SHORT_HASH]}…" if isinstance(sha256, str) else ""
    return Fact(
        name=DISTRIBUTIONS,
        value=count(len(versions), "distribution") + digits,
        listed={name: str(version) for name, version in versions.items()},
    )


def _follows(name: str, said: Sequence[tuple[str, Record]]) -> str | None:
    """The axis of which this fact is a function, if there is one."""
    for axis, of in _AXES.items():
        if _is_function(said, of):
            return axis
    # Converted weights lie in a cache, perhaps on another disk.
    declared = about(name)
    of_loading = declared is not None and declared.must_match == LOADING
    if of_loading and _is_function(said, _file_read):
        return "conversion of weights"
    return None


def _is_function(said: Sequence[tuple[str, Record]], of: Callable[[Record], Any]) -> bool:
    """Whether records that agree in something agree in the value too."""
    values: dict[Any, set[str]] = {}
    for value, record in said:
        values.setdefault(of(record), set()).add(value)
    return all(len(one) == 1 for one in values.values())


def _file_read(record: Record) -> tuple[str, bool]:
    return record.cell.model, record.converted is not None


def _fact(name: str, value: Any) -> Fact:
    if value is None:
        return Fact(name=name, value=None, why_missing="not recorded")
    return Fact(name=name, value=plain(value), shown=shown(name, value))
