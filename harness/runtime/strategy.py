"""The strategy language: `cuda fp16i8 *20 -> cpu fp32` and where it puts each slot.

    STRATEGY := STAGE ('->' STAGE)*          STAGE := DEVICE ' ' DTYPE [' *' COUNT ['+']]
    DEVICE   := cuda | cuda:N | mps | cpu    DTYPE := fp32 | fp16 | bf16, with i8 for int8 weights

A model of n_layer blocks has n_layer + 1 slots; the last one is `ln_out` and the head. Semantics
are those of the official `rwkv` package, except that what it gets wrong in silence is refused
(`i4`, `i3`, which it does not quantise) or repaired (`*0` takes no slot), and that a plan which
drops or stretches a stage comes with a warning.

Knows nothing of torch or of the machine: every device parses and plans everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import StrategyError
from harness.runtime.strategy_grammar import GRAMMAR, STAGE, what_is_wrong

UINT8 = "uint8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One part of a strategy, as written."""

    device: str
    dtype: str  # of activations: fp32, fp16 or bf16
    weight_dtype: str  # the same, or uint8
    count: int | None  # slots asked for; None shares what is left
    streamed: bool  # takes what is left, streamed, after its own `count` slots

    def __str__(self) -> str:
        int8 = "i8" if self.weight_dtype == UINT8 else ""
        count = "" if self.count is None else f" *{self.count}{'+' if self.streamed else ''}"
        return f"{self.device} {self.dtype}{int8}{count}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """Where one slot goes and what it computes in."""

    device: str  # as written: cuda, cuda:0, mps, cpu
    dtype: str  # activations: fp32, fp16, bf16
    weight_dtype: str  # matrices: fp32, fp16, bf16, uint8
    streamed: bool = False  # matrices stay in host memory and are copied over when used


def parse(strategy: str) -> tuple[Stage, ...]:
    """The stages of `strategy`; raises `StrategyError` naming what is wrong with which stage."""
    return tuple(_parse_stage(part.strip(" "), strategy) for part in strategy.split("->"))


def canonical(strategy: str) -> str:
    """The one spelling of a strategy: stages joined by ` -> `."""
    return " -> ".join(str(stage) for stage in parse(strategy))


def resolve(strategy: str, n_layer: int) -> tuple[LayerPlan, ...]:
    """One plan per slot: n_layer blocks, then `ln_out` + head.

    Raises `StrategyError` for a string outside the grammar, or one that leaves slots without any
    stage to take them.
    """
    stages = parse(strategy)
    stored, streaming, n_streamed = _allot(stages, n_layer + 1, strategy)
    return tuple(
        LayerPlan(
            device=stage.device,
            dtype=stage.dtype,
            weight_dtype=stage.weight_dtype,
            streamed=slot >= stored[index],
        )
        for index, stage in enumerate(stages)
        for slot in range(stored[index] + (n_streamed if index == streaming else 0))
    )


def warnings(strategy: str, n_layer: int) -> tuple[str, ...]:
    """What a user may not expect of the plan: stages cut, dropped or stretched."""
    stages = parse(strategy)
    n_slots = n_layer + 1
    stored, streaming, n_streamed = _allot(stages, n_slots, strategy)
    found = []
    for index, stage in enumerate(stages):
        got = stored[index] + (n_streamed if index == streaming else 0)
        if got == 0 and stage.count != 0 and not (index == streaming and stage.count == 0):
            found.append(f"stage '{stage}' gets no slot")
        elif stage.count is not None and got < stage.count:
            left = "1 is left" if got == 1 else f"{got} are left"
            there = f"the model has {n_slots}" if got == n_slots else left
            found.append(f"stage '{stage}' asks for {_slots(stage.count)}, and {there}")
        elif stage.count is not None and index != streaming and got > stage.count:
            more = got - stage.count
            other = "the other one goes" if more == 1 else f"the other {more} go"
            found.append(f"stage '{stage}' asks for {_slots(stage.count)}; {other} to it too")
    if not found:
        return ()
    return (f"{'; '.join(found)}: this runs as {describe(strategy, n_layer)}",)


def describe(strategy: str, n_layer: int) -> str:
    """The resolved plan in one line: `slots 0-19 cuda fp16i8, 20-32 cpu fp32`."""
    plans = resolve(strategy, n_layer)
    runs: list[tuple[int, int, LayerPlan]] = []
    for slot, plan in enumerate(plans):
        if runs and runs[-1][2] == plan:
            runs[-1] = (runs[-1][0], slot, plan)
        else:
            runs.append((slot, slot, plan))
    return "slots " + ", ".join(
        f"{first if first == last else f'{first}-{last}'} {_describe_plan(plan)}"
        for first, last, plan in runs
    )


def device_key(device: str) -> str:
    """One name per device: `cuda` is `cuda:0`."""
    return "cuda:0" if device == "cuda" else device


def rescale_layer(strategy: str) -> int:
    """Blocks between two halvings of the activations: 6 if any stage is fp16, else 0 (none).

    One fp16 stage rescales every layer, those of other stages included, as in the official
    package; `ln_out` makes it neutral but for rounding.
    """
    return 6 if any(stage.dtype == "fp16" for stage in parse(strategy)) else 0


def _describe_plan(plan: LayerPlan) -> str:
    int8 = "i8" if plan.weight_dtype == UINT8 else ""
    return f"{plan.device} {plan.dtype}{int8}{' streamed' if plan.streamed else ''}"


def _slots(n: int) -> str:
    return "1 slot" if n == 1 else f"{n} slots"


def _allot(
    stages: tuple[Stage, ...], n_slots: int, strategy: str
) -> tuple[list[int], int | None, int]:
    """Stored slots per stage, the index of the streaming stage, and how many slots it streams."""
    stored = [0] * len(stages)
    free = []
    streaming = None
    left = n_slots
    for index, stage in enumerate(stages):
        if stage.count is None:
            free.append(index)
            continue
        stored[index] = min(stage.count, left)
        left -= stored[index]
        if stage.streamed:
            streaming = index  # of several, the last one wins
        if left == 0:
            # Later stages are dropped, and so are free ones: nothing is left to share.
            return stored, streaming, 0
    if streaming is not None:
        return stored, streaming, left
    for position, index in enumerate(free):
        stored[index] = left // (len(free) - position)
        left -= stored[index]
    if left:
        taking = [index for index, stage in enumerate(stages) if stage.count != 0]
        if not taking:
            raise StrategyError(
                f"strategy '{strategy}' leaves all {n_slots} slots without a stage: '*0' takes "
                "none. Leave the count out, or write '*0+' to stream."
            )
        stored[taking[-1]] += left
    return stored, None, 0


def _parse_stage(text: str, strategy: str) -> Stage:
    match = STAGE.fullmatch(text)
    if match is None:
        wrong = what_is_wrong(text, strategy)
        raise StrategyError(f"invalid strategy '{strategy}': {wrong} {GRAMMAR}")
    return Stage(
        device=match["device"],
        dtype=match["dtype"],
        weight_dtype=UINT8 if match["int8"] else match["dtype"],
        count=None if match["count"] is None else int(match["count"]),
        streamed=match["stream"] is not None,
    )
