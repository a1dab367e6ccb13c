from __future__ import annotations

import subprocess
import sys

import pytest

from harness.language.discover import installed_world_vocabulary, wanted_tokenizer


def test_pile_and_raven_models_want_the_20b_tokenizer():
    wanted = wanted_tokenizer(50_277)
    assert wanted.file_names == ("20B_tokenizer.json",)
    assert wanted.url.endswith("/20B_tokenizer.json")


def test_world_models_want_the_world_vocabulary():
    wanted = wanted_tokenizer(65_536)
    assert wanted.file_names == ("rwkv_vocab_v20230424.txt",)
    assert wanted.url.endswith("/rwkv_vocab_v20230424.txt")


@pytest.mark.parametrize("n_vocab", [0, 1, 768, 50_254, 50_276, 50_278, 65_530, 65_537])
def test_other_sizes_say_nothing(n_vocab):
    assert wanted_tokenizer(n_vocab) is None


def stand_in(tmp_path, monkeypatch, *, vocabulary):
    """A package `rwkv` that must not be imported, the only one there is."""
    package = tmp_path / "rwkv"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    if vocabulary:
        (package / "rwkv_vocab_v20230424.txt").write_text("1 'a' 1\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "rwkv", raising=False)
    return package


def test_an_installed_package_is_looked_at_not_imported(tmp_path, monkeypatch):
    package = stand_in(tmp_path, monkeypatch, vocabulary=True)
    assert installed_world_vocabulary() == package / "rwkv_vocab_v20230424.txt"
    assert wanted_tokenizer(65_536).installed == package / "rwkv_vocab_v20230424.txt"
    assert wanted_tokenizer(50_277).installed is None


def test_a_package_without_the_vocabulary_and_no_package(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, vocabulary=False)
    assert installed_world_vocabulary() is None
    monkeypatch.setattr(sys, "path", [])
    assert installed_world_vocabulary() is None


def test_a_module_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "rwkv.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "rwkv", raising=False)
    assert installed_world_vocabulary() is None


def test_looking_needs_no_torch():
    code = (
        "import sys; from harness.language.discover import wanted_tokenizer as w; w(65536);"
        "assert not {'torch', 'rwkv', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
