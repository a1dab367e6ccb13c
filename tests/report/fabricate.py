"""Fabricates runs that look like real ones, for tests of everything that reads records."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import msgspec

from harness.config.depth_settings import Depth
from harness.config.study import Answers, Model, Speed, Study, Workloads
from harness.plan.cell import Cell
from harness.records.quality import (
    AnswerQuality,
    Difference,
    Gate,
    Quality,
    QualityReference,
    ScoredTokens,
)
from harness.records.record import (
    Answer,
    CellRef,
    Key,
    Memory,
    Outcome,
    OutcomeKind,
    Prefill,
    Record,
    SlotRecord,
)
from harness.records.store import RecordStore, create_run_folder

MIB = 2**20
FAILURES = tuple(kind for kind in get_args(OutcomeKind) if kind != "ok")
FACTS = {
    "cpu_model": "Fabricated CPU at 3 GHz",
    "cpu_allowed": 2,
    "cpu_flags": ["avx2", "fma"],
    "cpu_caches_bytes": {"L2": MIB},
    "ram_bytes": 24 * 1024 * MIB,
    "swap_bytes": 0,
    "gpus": {"unavailable": "no NVIDIA driver is loaded"},
    "torch": "2.0.1",
    "python": "CPython 3.10.0",
    "git_dirty": False,
}
QUESTIONS = [  # id, category, question, right answer, another
    ("capital", "facts", "What is the capital of France?", "Paris is the capital.", "Lyon is."),
    ("sum", "arithmetic", "What is 27 + 45?", "27 + 45 = 72", "27 + 45 = 73"),
    ("poem", "writing", "Write a line.", "Grüße, 世界 & <b>all</b>", "Grüße, Welt | *none*"),
    ("script", "facts", "Say <script>?", "<script>alert(1)</script>", "</style><img src=x>"),
]
NO_PATTERN = {"poem"}
PASSED = {"lost": 5e-5, "tolerated": 1.5e-3, "kl": 2e-6}


@dataclass
class Fabricated:
    """A run under construction: a plan that grows, and the records to it."""

    strategies: list[str] = field(default_factory=lambda: ["cpu fp32", "cpu bf16", "cpu fp32i8"])
    models: dict[str, str] = field(default_factory=lambda: {"tiny": "builtin:quickstart"})
    threads: list[int] = field(default_factory=lambda: [1])
    engines: list[str] = field(default_factory=lambda: ["torch"])
    reference: str | None = None
    batches: list[int] = field(default_factory=lambda: [1])
    depth: Depth | None = None
    trials: int = 3
    seed: int = 0
    plan: list[dict] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    @property
    def study(self) -> Study:
        return Study(
            name="fabricated",
            description="A study that nobody ran.",
            models={name: Model(weights=weights) for name, weights in self.models.items()},
            strategies=self.strategies,
            engines=self.engines,
            threads=self.threads,
            workloads=Workloads(
                speed=Speed(batch=self.batches),
                depth=self.depth,
                answers=Answers(questions="questions.yaml"),
            ),
            reference=self.reference,
        )

    def cell(self, strategy, workload="speed", *, model=None, threads=None, engine=None, batch=1):
        return Cell(
            model=model or next(iter(self.models)),
            engine=engine or self.engines[0],
            strategy=strategy,
            workload=workload,
            threads=threads or self.threads[0],
            batch=batch,
        )

    def planned(self, cell, *, skip_reason=None, warnings=(), trials=None):
        self.plan.append(
            {
                "cell": {"id": cell.id, **names_of(cell)},
                "trials": trials or (1 if cell.workload == "answers" else self.trials),
                "skip_reason": skip_reason,
                "weight_bytes": {} if skip_reason else {"cpu": 9 * MIB},
                "warnings": list(warnings),
            }
        )
        return cell

    def add(self, cell, *, trial=0, attempt=0, outcome="ok", reason=None, detail=None, **fields):
        """One record of a cell; `fields` are the record's own."""
        record = Record(
            key=Key(computation="c"),
            cell=CellRef(id=cell.id, **names_of(cell)),
            trial=trial,
            attempt=attempt,
            outcome=Outcome(kind=outcome, reason=reason, detail=detail),
            started_at=f"2024-05-01T10:{len(self.records) // 60:02}:{len(self.records) % 60:02}Z",
            **{"facts": FACTS, **fields},
        )
        self.records.append(record)
        return record

    def speed(self, strategy, tok_per_s, peak_mib=300, *, tokens=32, device=None, **cell_names):
        """A speed cell whose trials all end well, scattered by some percent."""
        cell = self.planned(self.cell(strategy, "speed", **cell_names))
        rng = random.Random(f"{self.seed}/{cell.id}")
        for trial in range(self.trials):
            level = tok_per_s * rng.gauss(1, 0.02)
            self.add(cell, trial=trial, **speed_fields(rng, level, peak_mib, tokens, device))
        return cell

    def answers(self, strategy, wrong=(), peak_mib=240, **cell_names):
        """An answers cell; the questions in `wrong` get the other answer."""
        cell = self.planned(self.cell(strategy, "answers", **cell_names))
        given = []
        for name, category, question, right, other in QUESTIONS:
            text = other if name in wrong else right
            given.append(
                Answer(
                    id=name,
                    text=text,
                    token_ids=[ord(c) for c in text],
                    right=None if name in NO_PATTERN else name not in wrong,
                    category=category,
                    question=question,
                )
            )
        memory = Memory() if peak_mib is None else Memory(peak_rss_bytes=peak_mib * MIB)
        self.add(cell, answers=given, memory=memory)
        return cell

    def quality(self, strategy, kl=1e-5, apart=2, differ=(), *, small=False, **fields):
        """A quality cell: the mean divergence, tokens of 200 that it disagrees on, and questions.

        `differ` are those that the reference would have answered otherwise, from their second token
        on; `small` that only the small form was there; other fields are `Quality`'s own.
        """
        cell = self.planned(self.cell(strategy, "quality"), trials=1)
        scored = scored_tokens(kl, apart, small=small)
        reference = QualityReference(
            form="small" if small else "full", weights_sha256="ab" * 32, method="exact", s=9.0
        )
        answers = [
            AnswerQuality(
                id=name,
                scored=scored_tokens(kl * 2, 1, tokens=20, small=small),
                difference=difference(right) if name in differ else None,
                difference_missing="only the small form is here" if small else None,
            )
            for name, _, _, right, _ in QUESTIONS
        ]
        given = {"reference": reference, "text": scored, "answers": answers, **fields}
        self.add(cell, quality=Quality(**given), gate=Gate(tokens=32, figures=dict(PASSED)))
        return cell

    def write(self, folder: Path) -> Path:
        create_run_folder(
            folder, study_text="# fabricated\n", study=self.study, facts=FACTS, plan=self.plan
        )
        store = RecordStore(folder)
        with store.appending():
            for record in self.records:
                store.append(record)
        return folder


def names_of(cell):
    """What a record keeps of a cell beside its id."""
    return {name: getattr(cell, name) for name in cell.__slots__ if name != "variant"}


def scored_tokens(kl, apart, tokens=200, *, small=False):
    """Tokens whose mean divergence is `kl`, the first `apart` of which do not agree."""
    return ScoredTokens(
        kl=[kl] * tokens,
        kl_most=[kl * 1.5] * tokens if small else [],
        agree=[0] * apart + [1] * (tokens - apart),
        log_p=[-1.0 - kl] * tokens,
        reference_log_p=[-1.0] * tokens,
    )


def difference(text):
    """At the second token of a text whose tokens are its letters."""
    return Difference(
        index=1,
        token=7,
        reference_token=9,
        p=0.25,
        reference_p=0.2,
        p_of_reference_token=0.24,
        reference_p_of_reference_token=0.3,
        text=text[1],
        reference_text="<z>",
        same_characters=1,
    )


def speed_fields(rng, level, peak_mib, tokens=32, device=None):
    passes = [[rng.lognormvariate(0, 0.05) / level for _ in range(tokens)] for _ in range(3)]
    for one_pass in passes:
        one_pass[0] *= 1.6
    weight_dtype = "fp32"
    return {
        "load_s": rng.uniform(0.2, 0.3),
        "prefill": [Prefill(tokens=n, s=n / (level * 6)) for n in (32, 128) for _ in range(3)],
        "decode_s": passes,
        "prefill_tok_per_s": level * 6,
        "decode_tok_per_s": level,
        "memory": Memory(
            peak_rss_bytes=int(peak_mib * MIB * rng.uniform(0.998, 1.002)),
            import_rss_bytes=220 * MIB,
            load_rss_bytes=int((peak_mib - 10) * MIB),
            device_peak_bytes={device[0]: device[1] * MIB} if device else {},
        ),
        "plan": [
            SlotRecord(
                slot=slot,
                device=device[0] if device else "cpu",
                dtype="fp32",
                weight_dtype="uint8" if slot < 2 else weight_dtype,
                streamed=False,
                bytes=3 * MIB,
                kernels={"matmul": "torch.mm"} if slot < 2 else {"matmul": "torch.addmm"},
            )
            for slot in range(4)
        ],
    }


def plausible() -> Fabricated:
    """A model on the CPU as the quickstart runs it: four strategies measured, two skipped."""
    mixed = "cpu fp32i8 *3 -> cpu fp32"
    strategies = ["cpu fp32", "cpu bf16", "cpu fp32i8", mixed, "cuda fp16", "cuda fp16i8"]
    run = Fabricated(strategies, {"quickstart": "builtin:quickstart", "random-169m": "random:169m"})
    speeds = {"cpu fp32": 910, "cpu bf16": 640, "cpu fp32i8": 350, mixed: 470}
    peaks = {"cpu fp32": 262, "cpu bf16": 255, "cpu fp32i8": 251, mixed: 256}
    for strategy, speed in speeds.items():
        run.speed(strategy, speed, peaks[strategy], tokens=64)
        run.answers(
            strategy,
            wrong={"cpu bf16": ("sum",), "cpu fp32i8": ("poem", "script")}.get(strategy, ()),
        )
    for strategy, speed in speeds.items():
        peak = 220 + (peaks[strategy] - 240) * 30
        run.speed(strategy, speed / 60, peak, model="random-169m", tokens=64)
    for model in run.models:
        for strategy in ("cuda fp16", "cuda fp16i8"):
            for workload in ("speed", "answers") if model == "quickstart" else ("speed",):
                cell = run.cell(strategy, workload, model=model)
                run.planned(cell, skip_reason="no CUDA device on this machine")
                run.add(cell, outcome="skipped", reason="no CUDA device on this machine")
    return run


def with_devices() -> Fabricated:
    """A large model on a GPU: long strategies, device memory, slow and fast far apart."""
    speeds = {
        "cuda fp16": (61, 1900, 6200),
        "cuda fp16i8": (38, 1900, 3400),
        "cuda fp16i8 *20 -> cuda fp16": (43, 1900, 4300),
        "cuda fp16 *20 -> cpu fp32": (5.1, 6100, 3900),
        "cuda fp16i8 *10+ -> cpu fp32 *1": (2.4, 3600, 1200),
        "cpu fp32": (1.9, 12100, None),
        "cpu bf16": (1.85, 6300, None),
        "cpu fp32i8": (1.1, 3900, None),
    }
    run = Fabricated(list(speeds), {"raven-3b": "raven-3b.pth"}, reference="cpu fp32", trials=2)
    for strategy, (speed, peak, on_device) in speeds.items():
        device = None if on_device is None else ("cuda:0", on_device)
        run.speed(strategy, speed, peak, tokens=100, device=device)
        run.answers(strategy, wrong=("sum",) if "i8" in strategy else ())
    return run


def with_every_failure() -> Fabricated:
    """One strategy that works, and one for each way to fail."""
    run = Fabricated(["cpu fp32", *(f"cpu fp32 *{n}" for n in range(1, len(FAILURES) + 1))])
    run.speed("cpu fp32", 100)
    run.answers("cpu fp32")
    for number, kind in enumerate(FAILURES, start=1):
        cell = run.planned(run.cell(f"cpu fp32 *{number}"), trials=1)
        run.add(cell, outcome=kind, reason=f"fabricated {kind}", detail="Traceback <of> & things")
    return run


def hostile() -> Fabricated:
    """Everything that a page shows and that somebody else wrote tries to break it."""
    name = 'x"><script>alert("$m$")</script> 世界 | `a`'
    run = Fabricated(["cpu fp32", "cpu bf16"], {name: "<img src=x onerror=y>.pth"})
    run.speed("cpu fp32", 100)
    run.answers("cpu fp32")
    run.answers("cpu bf16", wrong=[question[0] for question in QUESTIONS])
    cell = run.planned(run.cell("cpu bf16"), warnings=["<script>warn</script> | *loud*"])
    run.add(cell, outcome="crashed", reason="</td><script>why</script>", detail="</pre><script>x")
    run.records[0] = msgspec.structs.replace(
        run.records[0], facts={**FACTS, "os": "<script>fact</script>"}
    )
    return run


def skips_only() -> Fabricated:
    """A machine that can run nothing of the study."""
    run = Fabricated(["cuda fp16", "cuda fp16i8"])
    for strategy in run.strategies:
        for workload in ("speed", "answers"):
            run.planned(run.cell(strategy, workload), skip_reason="no CUDA device")
    return run


def failures_only() -> Fabricated:
    """Every cell crashed."""
    run = Fabricated(["cpu fp32", "cpu bf16"])
    for strategy in run.strategies:
        cell = run.planned(run.cell(strategy), trials=2)
        for trial in range(2):
            run.add(cell, trial=trial, outcome="crashed", reason="signal 11")
    return run


def one_trial() -> Fabricated:
    """The least that can be measured: one trial, no memory, one token."""
    run = Fabricated(trials=1)
    cell = run.planned(run.cell("cpu fp32"))
    run.add(cell, decode_tok_per_s=100.0, decode_s=[[0.01]])
    return run


def with_quality() -> Fabricated:
    """Strategies beside the exact reference: near, far, of the small form, broken, and unscored."""
    mixed = "cpu fp32i8 *3 -> cpu fp32"
    kl = {"cpu fp32": (0.0, 0), "cpu bf16": (2e-5, 4), "cpu fp32i8": (5e-6, 2), mixed: (1e-6, 1)}
    run = Fabricated([*kl, "cpu bf16i8", "cpu fp16"], {"tiny": "tiny.pth"}, trials=2)
    for at, (strategy, (mean, apart)) in enumerate(kl.items()):
        run.speed(strategy, 900 - 100 * at, 300 - 20 * at)
        run.answers(strategy, wrong=("sum",) if apart > 3 else ())
        run.quality(strategy, mean, apart, differ=("sum",) if apart > 3 else (), small=apart == 2)
    run.speed("cpu fp16", 500)
    why = "It computes another function than the reference: of 32 tokens 33 % is lost."
    gate = Gate(tokens=32, why=why, figures={"lost": 0.33, "tolerated": 0.025, "kl": 1.5})
    speed = run.planned(run.cell("cpu bf16i8"))
    run.add(speed, outcome="wrong_answers", reason=why, gate=gate)
    for workload in ("answers", "quality"):
        cell = run.planned(run.cell("cpu bf16i8", workload), trials=1)
        run.add(cell, outcome="wrong_answers", reason=f"not measured: in {speed.id} {why}")
    return run


EVERY = {
    "quality": with_quality,
    "plausible": plausible,
    "every failure": with_every_failure,
    "devices": with_devices,
    "hostile": hostile,
    "skips only": skips_only,
    "failures only": failures_only,
    "one trial": one_trial,
    "empty": Fabricated,
}
