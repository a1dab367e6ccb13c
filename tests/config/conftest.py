import pytest

# Line numbers matter to the tests: they are those of this text.
GOOD_STUDY = """\
name: small
models:
  tiny:
    weights: models/tiny.pth
    tokenizer: models/tokenizer.json
    prompt: "Q: {question}\\nA:"
  made-up:
    weights: random:169m
strategies:
  - cpu fp32
  - cuda fp16i8 *20 -> cpu fp32
engines: [torch]
threads: 2
workloads:
  speed:
    prompt_tokens: [8, 16]
    trials: 2
  answers:
    questions: questions.txt
    sampling:
      top_p: 0.5
exclude:
  - {model: made-up, workload: answers}
reference: cpu fp32
"""


@pytest.fixture(scope="session")
def good_study():
    return GOOD_STUDY


@pytest.fixture
def write_study(tmp_path):
    """Write a study (the good one by default) with its questions; returns its path."""
    (tmp_path / "questions.txt").write_text("How are you?\nWhat is 2 + 2?\n", encoding="utf-8")

    def write(text=GOOD_STUDY, name="study.yaml"):
        path = tmp_path / name
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text, encoding="utf-8")
        return path

    return write
