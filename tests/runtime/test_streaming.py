"""The order of copies and computation in streamed slots, with a copier that is out to break it."""

import gc
import itertools
import weakref

import pytest
import torch

from harness.runtime import load_model, streaming
from harness.runtime.copying import PlainCopier
from harness.runtime.devices import DeviceMap
from tests.runtime.conftest import TOKENS, Case

CPU = torch.device("cpu")
DEVICES = DeviceMap({"cpu": CPU, "cuda": CPU})
CASE = Case(7, 32, 80, torch.bfloat16)
STRATEGIES = [f"cuda fp16 *{n}+" for n in range(8)] + ["cuda fp16i8 *2 -> cuda fp16 *1+"]


class Eager(PlainCopier):
    """Copies as early as it may: at once, whatever the buffer is still needed for."""

    is_ahead = True


class Lazy(PlainCopier):
    """Copies as late as it may: only when the computation waits for the end of it."""

    is_ahead = True

    def __init__(self, device):
        super().__init__(device)
        self._pending = {}
        self._numbers = itertools.count(1)
        self._targets = {}  # by event: the buffer it filled
        self._in_use = None
        self._released = {}  # by buffer: the mark behind its last use

    def copy(self, target, source, after):
        buffer = target.data_ptr()
        assert after is not None, "a copy that waits for nothing may hit a buffer in use"
        assert after == self._released.get(buffer, after), "used again since that mark"
        event = next(self._numbers)
        self._pending[event] = (target, source)
        self._targets[event] = buffer
        return event

    def wait(self, event):
        # In order, as on a stream: what was asked for before is done before.
        for number in [number for number in self._pending if number <= event]:
            target, source = self._pending.pop(number)
            target.copy_(source)
        self._in_use = self._targets[event]
        self._released[self._in_use] = None  # until it is marked

    def mark(self):
        mark = -next(self._numbers)
        if self._in_use is not None:
            self._released[self._in_use] = mark
            self._in_use = None
        return mark


@pytest.mark.parametrize("copier", [Eager, Lazy])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_copy_comes_too_early_or_too_late(copier, strategy, checkpoint, monkeypatch):
    plain = load_model(checkpoint(CASE), strategy, devices=DEVICES)
    monkeypatch.setattr(streaming, "copier_for", copier)
    raced = load_model(checkpoint(CASE), strategy, devices=DEVICES)
    state = raced_state = None
    for tokens in (TOKENS, TOKENS[:1], TOKENS[1:2], TOKENS[:3], TOKENS[4:5]):
        logits, state = plain.forward(tokens, state)
        raced_logits, raced_state = raced.forward(tokens, raced_state)
        assert torch.equal(logits, raced_logits)


def test_the_next_slot_is_asked_for_before_this_one_is_computed(checkpoint, monkeypatch):
    monkeypatch.setattr(streaming, "copier_for", Eager)
    log = []
    devices = DeviceMap({"cpu": CPU, "cuda": CPU}, log=log)
    model = load_model(checkpoint(CASE), "cuda fp16 *2+", devices=devices)
    blocks = model.weights.blocks[2:]
    log.clear()
    with blocks[0].ready():
        assert {line.slot for line in log} == {2, 3}
    log.clear()
    with blocks[1].ready():
        assert {line.slot for line in log} == {4}
    log.clear()
    with blocks[4].ready():
        assert {line.slot for line in log} >= {2}, "behind the last slot comes the first"


def test_a_buffer_is_released_also_when_the_block_fails(checkpoint, monkeypatch):
    monkeypatch.setattr(streaming, "copier_for", Lazy)
    model = load_model(checkpoint(CASE), "cuda fp16 *2+", devices=DEVICES)
    expected, _ = load_model(checkpoint(CASE), "cuda fp16 *2+", devices=DEVICES).forward(TOKENS)
    with pytest.raises(RuntimeError), model.weights.blocks[3].ready():
        raise RuntimeError("out of memory, say")
    logits, _ = model.forward(TOKENS)
    assert torch.equal(logits, expected)


def test_a_dropped_model_gives_its_memory_back_at_once(checkpoint):
    model = load_model(checkpoint(CASE), "cuda fp16 *2+", devices=DEVICES)
    model.forward(TOKENS)
    streamed = model.weights.blocks[-1]
    left = [weakref.ref(streamed.host.flat), weakref.ref(streamed.lane)]
    gc.disable()  # gigabytes of locked memory must not wait for a collection
    try:
        del model, streamed
        assert [ref() for ref in left] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
def test_matrices_in_one_piece_of_memory_are_aligned_and_apart(dtype):
    shapes = {"a": (3, 5), "b": (7, 37), "c": (1, 1)}
    item = torch.empty(0, dtype=dtype).element_size()
    n_bytes = streaming.flat_bytes({name: a * b * item for name, (a, b) in shapes.items()})
    views = streaming.FlatBuffer(torch.zeros(n_bytes, dtype=torch.uint8), shapes, dtype).views
    starts = [view.storage_offset() * item for view in views.values()]
    assert [start % 256 for start in starts] == [0, 0, 0]
    for number, view in enumerate(views.values(), start=1):
        view.fill_(number)
    for number, (name, view) in enumerate(views.items(), start=1):
        assert view.shape == shapes[name]
        assert (view == number).all()
