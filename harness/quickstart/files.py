"""Where the files of the shipped model, its study and its questions lie.

The one place that knows them; `builtin:quickstart` stands for each of them where a study or a
command asks for weights, a tokenizer, questions or a study. Whether they exist is not asked here.
"""

from __future__ import annotations

from pathlib import Path

BUILTIN = "builtin:quickstart"

WEIGHTS_NAME = "model.pth"
TOKENIZER_NAME = "tokenizer.json"
LOG_NAME = "training.json"
CARD_NAME = "MODEL_CARD.md"
CURVE_NAME = "loss.svg"
OF_A_TRAINING = (WEIGHTS_NAME, TOKENIZER_NAME, LOG_NAME, CARD_NAME, CURVE_NAME)

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / WEIGHTS_NAME
TOKENIZER = FOLDER / TOKENIZER_NAME
STUDY = FOLDER / "study.yaml"
QUESTIONS = FOLDER / "questions.yaml"
TEXT = FOLDER / "text.txt"
