from __future__ import annotations

import hashlib
import json
import struct
import unicodedata
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from harness.errors import BadInput, TokenizerError
from harness.language.tokenizer import load_tokenizer


def edited(source, target, change):
    spec = json.loads(source.read_text(encoding="utf-8"))
    change(spec)
    target.write_text(json.dumps(spec), encoding="utf-8")
    return load_tokenizer(target)


@given(text=st.text())
def test_text_survives_encoding_and_decoding(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces ",
        "don't , you ?",
        "\n\n",
        "a\r\nb\t",
        "end<|endoftext|>of text",
        "é漢🙂",
    ],
)
def test_spaces_newlines_and_special_tokens_survive(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_special_token_is_one_id(tokenizer):
    assert tokenizer.encode("a<|endoftext|>")[1:] == [0]


def test_numpy_ids_are_decoded(tokenizer):
    assert tokenizer.decode(np.array(tokenizer.encode("they"))) == "they"


def test_identity_is_the_content(tokenizer_file, tokenizer, tmp_path):
    copy = tmp_path / "elsewhere.json"
    copy.write_bytes(tokenizer_file.read_bytes())
    assert load_tokenizer(str(copy)).sha256 == tokenizer.sha256
    assert tokenizer.sha256 == hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()


def test_n_vocab_counts_added_tokens(tokenizer_file, tokenizer, tmp_path):
    def add_spaces(spec):
        added = {**spec["added_tokens"][0], "id": tokenizer.n_vocab, "content": "  "}
        spec["added_tokens"].append({**added, "special": False})

    longer = edited(tokenizer_file, tmp_path / "t.json", add_spaces)
    assert longer.n_vocab == tokenizer.n_vocab + 1
    assert longer.encode("a  b")[1:2] == [tokenizer.n_vocab]
    assert longer.decode(longer.encode("a  b")) == "a  b"


def test_a_file_that_truncates_and_pads_does_not_change_the_prompt(
    tokenizer_file, tokenizer, tmp_path
):
    inner = Tokenizer.from_file(str(tokenizer_file))
    inner.enable_truncation(4)
    inner.enable_padding(length=8)
    path = tmp_path / "truncating.json"
    path.write_text(inner.to_str(), encoding="utf-8")
    assert json.loads(inner.to_str())["truncation"] is not None
    loaded = load_tokenizer(path)
    for text in ("the quick brown fox", "a"):
        assert loaded.encode(text) == tokenizer.encode(text)


def test_no_token_is_added_at_the_ends(tokenizer_file, tokenizer, tmp_path):
    special = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}

    def add_template(spec):
        spec["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [special, sequence],
            "pair": [special, sequence, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
            },
        }

    path = tmp_path / "t.json"
    loaded = edited(tokenizer_file, path, add_template)
    assert Tokenizer.from_file(str(path)).encode("then").ids[0] == 0
    assert loaded.encode("then") == tokenizer.encode("then")


@pytest.fixture(scope="module")
def normalising(tokenizer_file, tmp_path_factory):
    def normalise(spec):
        spec["normalizer"] = {"type": "NFC"}  # as the 20B tokenizer has

    return edited(tokenizer_file, tmp_path_factory.mktemp("nfc") / "t.json", normalise)


@given(text=st.text(alphabet="aeAE Çé\u0301\u0308\u0327\n🙂"))
def test_a_normaliser_in_the_file_is_all_that_changes_text(normalising, text):
    composed = unicodedata.normalize("NFC", text)
    assert normalising.decode(normalising.encode(text)) == composed


@pytest.mark.parametrize("bad", [-1, 280, 10**6])
def test_an_unknown_id_is_refused_not_left_out(tokenizer, bad):
    with pytest.raises(TokenizerError, match=rf"Token {bad} .* belong to this model"):
        tokenizer.decode([5, bad])


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(BadInput, match="character 2"):
        tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("n_vocab", [280, 281, 512])
def test_a_model_may_be_padded(tokenizer, n_vocab):
    tokenizer.check_fits(n_vocab)


@pytest.mark.parametrize("n_vocab", [1, 279, 50277, 65536])
def test_a_tokenizer_of_another_model_is_refused(tokenizer, n_vocab):
    with pytest.raises(TokenizerError, match=f"280 tokens and the model {n_vocab:,}"):
        tokenizer.check_fits(n_vocab)


def write_pth(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")


def write_safetensors(path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


WRONG_FILES = {
    "a model file (PyTorch": write_pth,
    "a model file (safetensors": write_safetensors,
    "has no token for the byte 0x61": lambda path: path.write_text(
        "\n".join(f"{n} {bytes([n - 1])} 1" for n in range(1, 257) if n != 98), encoding="utf-8"
    ),
    "is a model file (ggml": lambda path: path.write_bytes(b"fmgg" + b"\0" * 40),
    "is not JSON": lambda path: path.write_text("Bob: hello", encoding="utf-8"),
    "not even text": lambda path: path.write_bytes(b"\xff\xfe\x00\x01"),
    "has no `model`": lambda path: path.write_text("[1, 2]", encoding="utf-8"),
    "settings that lie beside": lambda path: path.write_text(
        '{"tokenizer_class": "GPTNeoXTokenizer"}', encoding="utf-8"
    ),
    "a bare vocabulary": lambda path: path.write_text('{"a": 0, "b": 1}', encoding="utf-8"),
    "is not a tokenizer that tokenizers": lambda path: path.write_text(
        '{"model": {"type": "Unheard"}}', encoding="utf-8"
    ),
    "without a single token": lambda path: path.write_text(
        Tokenizer(models.BPE()).to_str(), encoding="utf-8"
    ),
    "Cannot read": lambda path: path.mkdir(),
    "There is no tokenizer file": lambda path: None,
    "is not JSON: Expecting value": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("message", WRONG_FILES)
def test_a_wrong_file_is_named_for_what_it_is(tmp_path, message):
    path = tmp_path / "given"
    WRONG_FILES[message](path)
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "20B_tokenizer.json" in str(error.value)


def test_a_byte_order_mark_is_no_obstacle(tokenizer_file, tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + tokenizer_file.read_bytes())
    assert load_tokenizer(path).n_vocab == 280
