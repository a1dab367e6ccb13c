"""What stands for several strategies in a study, written out: ranges and named sets.

    cuda fp16i8 *{0..32..4} -> cuda fp16     nine strategies; the end belongs to the range
    @int8                                    those of `sets: {int8: […]}`

Works on the tree, behind `extends` and before anything is checked, so all that follows knows single
strategies only; each remembers where it was written. Knows nothing of what makes a strategy valid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from harness.config.axes import spell, why_unparsable
from harness.config.document import Key, Node
from harness.config.problem import Problem, listed, nearest

MOST = 200  # strategies that one line may stand for
SETS = "sets"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,6})\.\.([0-9]{1,6})(?:\.\.([0-9]{1,6}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def expand(root: Node, problems: list[Problem]) -> Node:
    """The tree with each range and set in place of itself; adds to `problems`.

    What cannot be understood stays as it is. A strategy that several of them bring is there once.
    """
    expander = _Expander(root, problems)
    expander.check_sets()
    entries = dict(root.entries)
    if root.get("strategies").items:
        strategies = root.get("strategies")
        entries["strategies"] = replace(strategies, value=expander.strategies(strategies))
    known = {spell(node) for node in replace(root, value=entries).get("strategies").items}
    for name in ("include", "exclude"):
        if root.get(name).items:
            found = expander.selectors(name, known if name == "exclude" else None)
            entries[name] = replace(root.get(name), value=list(found))
    return replace(root, value=entries)


class _WrongRange(Exception):
    """Why braces hold no range that can be used."""


@dataclass(frozen=True, slots=True)
class _Expander:
    root: Node
    problems: list[Problem]
    _refused: set[Key] = field(default_factory=set)  # each is said once
    _members_of: dict[str, list[Node]] = field(default_factory=dict)  # by the name of the set

    def check_sets(self) -> None:
        """Find what is wrong with sets, also with those that nothing names."""
        for name, node in self.root.get(SETS).entries.items():
            if not _NAME.fullmatch(name):
                allowed = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
                self._refuse((SETS, name), f"'{name}' is no name: {allowed}.")
            for index, item in enumerate(node.items):
                key = (SETS, name, index)
                for one in self._expand(item, key, (name,)):
                    if one.text is not None and (wrong := why_unparsable(one.text)):
                        self._refuse(one.origin or key, wrong)

    def strategies(self, node: Node) -> list[Node]:
        """The strategies in order, each once; two that were both written out are left to stand."""
        found: list[Node] = []
        bare: dict[str | None, bool] = {}  # canonical -> whether it was written out by itself
        for index, item in enumerate(node.items):
            for one in self._expand(item, ("strategies", index), ()):
                name, is_bare = spell(one), one.value == item.value
                if name is not None and name in bare and not (is_bare and bare[name]):
                    continue
                bare[name] = is_bare
                found.append(one)
        return found

    def selectors(self, name: str, known: set[str | None] | None) -> Iterator[Node]:
        """The entries of `include` or `exclude`, one for each strategy.

        With `known`, a range or set may hold more than these, as long as it holds one of them.
        """
        for index, entry in enumerate(self.root.get(name).items):
            key: Key = (name, index)
            node = entry.get("strategy")
            ones = self._expand(node, (*key, "strategy"), ()) if node.text else []
            if not ones:
                yield replace(entry, origin=entry.origin or key)
                continue
            each = {spell(one): one for one in ones}
            meant = [one for word, one in each.items() if known is None or word in known]
            for one in meant or ones[:1]:
                yield replace(
                    entry, value={**entry.entries, "strategy": one}, origin=entry.origin or key
                )

    def _expand(self, node: Node, key: Key, above: tuple[str, ...]) -> list[Node]:
        """The strategies that `node` stands for; `above` are the sets that it is in."""
        text = node.text
        if text is None:
            return [replace(node, origin=key)]
        if text.startswith("@"):
            return self._members(text[1:], node, key, above)
        try:
            spelled = _written_out(text)
        except _WrongRange as wrong:
            self._refuse(key, str(wrong))
            return [replace(node, origin=key)]
        return [replace(node, value=one, origin=key) for one in spelled]

    def _members(self, name: str, node: Node, key: Key, above: tuple[str, ...]) -> list[Node]:
        sets = self.root.get(SETS).entries
        wrong = None
        if name in above:
            circle = " -> ".join(f"@{one}" for one in (*above[above.index(name) :], name))
            wrong = f"goes in a circle: {circle}."
        elif not sets:
            wrong = f"'@{name}': this study has no sets. Name one: sets: {{{name}: [cpu fp32]}}."
        elif name not in sets:
            allowed = [f"@{one}" for one in sets]
            hint = f"{nearest(f'@{name}', allowed)} Allowed: {listed(allowed)}."
            wrong = f"'@{name}' is not among the sets of this study.{hint}"
        if wrong is not None:
            self._refuse(key, wrong)
            return [replace(node, origin=key)]
        if name not in self._members_of:
            each = (
                one
                for index, item in enumerate(sets[name].items)
                for one in self._expand(item, (SETS, name, index), (*above, name))
            )
            # Each once, so that sets of sets of sets stay as small as what they hold.
            self._members_of[name] = list({str(one.value): one for one in each}.values())
        return self._members_of[name]

    def _refuse(self, key: Key, text: str) -> None:
        if key not in self._refused:
            self._refused.add(key)
            self.problems.append(self.root.problem(key, text))


def _written_out(text: str) -> list[str]:
    """The texts that one with ranges stands for; the last range counts fastest."""
    parts = _BRACES.split(text)
    if any(brace in part for part in parts[::2] for brace in "{}"):
        raise _WrongRange(f"'{text}' has a brace without its other. {_HOW}")
    ranges = [_numbers(inner) for inner in parts[1::2]]
    n = math.prod(map(len, ranges))
    if n > MOST:
        raise _WrongRange(f"'{text}' stands for {n} strategies; at most {MOST} are allowed.")
    return [
        "".join(
            fixed + str(number) for fixed, number in zip(parts[::2], (*numbers, ""), strict=True)
        )
        for numbers in product(*ranges)
    ]


_HOW = "A range is {FIRST..LAST} or {FIRST..LAST..STEP}, such as {0..32..4}."


def _numbers(inner: str) -> range:
    match = _RANGE.fullmatch(inner)
    if match is None:
        raise _WrongRange(f"'{{{inner}}}' is no range. {_HOW}")
    first, last, step = (int(one or 1) for one in match.groups())
    if step == 0:
        raise _WrongRange(f"the range {{{inner}}} has a step of 0; allowed: 1 or more.")
    if first > last:
        raise _WrongRange(
            f"the range {{{inner}}} is empty: {first} is more than {last}. Write the smaller one "
            "first."
        )
    found = range(first, last + 1, step)
    if len(found) > MOST:
        raise _WrongRange(
            f"the range {{{inner}}} has {len(found)} numbers; at most {MOST} are allowed. Give it "
            f"a step: {{{first}..{last}..{-(-(last - first) // (MOST - 1))}}}."
        )
    return found
