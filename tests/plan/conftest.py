import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from harness.config.load import load_study
from harness.machine import Accelerator, Machine
from harness.runtime.shape import ModelShape, original_tensors

SHAPE = ModelShape(n_layer=3, n_embd=32, n_vocab=64, dim_ffn=128)
STUDY = """\
name: planned
models:
  tiny:
    weights: tiny.safetensors
    tokenizer: tokenizer.json
  made-up: {weights: 'random:169m'}
strategies:
  - cpu fp32
  - cpu fp32i8 *2 -> cpu fp32
  - cuda fp16
  - cuda:1 fp16 *2 -> cpu fp32
  - cuda fp16i8 *2+
workloads:
  speed: {trials: 3}
  answers: {questions: questions.txt}
exclude:
  - {model: made-up, workload: answers}
"""
GIB = 2**30


def make_machine(*cuda_bytes, cores=4, ram_bytes=16 * GIB, mps=False):
    """A machine with a CUDA device of each size."""
    accelerators = [
        Accelerator(device=f"cuda:{n}", name="Fake GPU", memory_bytes=size)
        for n, size in enumerate(cuda_bytes)
    ]
    if mps:
        accelerators.append(Accelerator(device="mps", name="Fake M9", memory_bytes=ram_bytes))
    return Machine(
        label="fake", accelerators=tuple(accelerators), cores=cores, ram_bytes=ram_bytes, facts={}
    )


@pytest.fixture(scope="session")
def machine_with():
    return make_machine


@pytest.fixture
def study_folder(tmp_path):
    """A folder with the files that STUDY needs."""
    tensors = {name: np.zeros(shape, np.float16) for name, shape in original_tensors(SHAPE).items()}
    save_file(tensors, str(tmp_path / "tiny.safetensors"))
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(
        str(tmp_path / "tokenizer.json")
    )
    (tmp_path / "questions.txt").write_text("Why?\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def load(study_folder):
    """Load STUDY with some texts replaced."""

    def load(*replacements, text=STUDY):
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = study_folder / "planned.yaml"
        path.write_text(text, encoding="utf-8")
        return load_study(path)

    return load
