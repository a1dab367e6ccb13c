"""The World tokenizer: against its slow twin, and against the official package's own."""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInput, TokenizerError
from harness.language.base import Tokenizer, spaces_and_digits
from harness.language.discover import installed_world_vocabulary, wanted_tokenizer
from harness.language.tokenizer import load_tokenizer
from harness.language.trie import LongestMatch, longest_match_ref

TEXTS = [
    "",
    " ",
    "\n\n\n",
    "Bob: What is the capital of France?\n\nAlice:",
    "  def f(self, *args):\n\t\treturn {1: 'a', 2.50: \"b\"}  # then\r\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. Café, naïve, Ærø.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "人工智能是计算机科学的一个分支，它企图了解智能的实质。吾輩は猫である。名前はまだ無い。",
    "대한민국 서울 — हिन्दी दुनिया — الرجاء قراءة — ภาษาไทย — ελληνικά",
    "🙂👍🏽👩‍👩‍👧‍👦🇫🇷 e\u0301 \u2028\u2029\x85 \ufeff\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaa" * 20 + " " * 200 + "\n" * 200 + "-" * 200 + "1234567890" * 20,
]
# Bytes that meet at the edges of words, lines and characters.
EDGES = b" \n\tabZ.,!'(09\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x99\x82\xff\x00"


@pytest.fixture(scope="module")
def official():
    """The official package's tokenizer, of a file that needs no torch."""
    path = installed_world_vocabulary()
    if path is None:
        pytest.skip("the rwkv package is not installed")
    source = path.with_name("rwkv_tokenizer.py")
    spec = importlib.util.spec_from_file_location("official_tokenizer", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    gc.disable()  # it makes a list of 256 for each of 130,000 nodes: nothing to search for garbage
    try:
        made = module.TRIE_TOKENIZER(str(path))
    finally:
        gc.enable()
    gc.freeze()
    yield made
    gc.unfreeze()


def tokens_of(tokenizer):
    """Every named id and its bytes."""
    named = {i: tokenizer.decode_bytes([i]) for i in range(1, tokenizer.n_vocab)}
    return {i: token for i, token in named.items() if tokenizer.encode_bytes(token) == [i]}


def fuzzed_bytes(tokens, *, seed, n):
    """Random bytes, concatenated tokens, and bytes that meet where text is cut."""
    rng = random.Random(seed)
    for _ in range(n):
        yield rng.randbytes(rng.randrange(40))
        yield b"".join(rng.choices(tokens, k=rng.randrange(12)))
        yield bytes(rng.choices(EDGES, k=rng.randrange(30)))


def test_it_is_recognised_by_content(world, world_file, world_lines):
    assert isinstance(world, Tokenizer)
    assert world.n_vocab == len(world_lines) + 1
    assert world.sha256 == hashlib.sha256(world_file.read_bytes()).hexdigest()


@given(text=st.text())
def test_text_survives(world, text):
    ids = world.encode(text)
    assert world.decode(ids) == text
    assert 0 not in ids


@given(data=st.binary())
def test_bytes_survive(world, data):
    assert world.decode_bytes(world.encode_bytes(data)) == data


@given(
    tokens=st.sets(st.binary(min_size=2, max_size=6), max_size=12),
    data=st.lists(st.sampled_from(EDGES), max_size=24).map(bytes),
    cut=st.booleans(),
)
def test_the_longest_match_is_that_of_the_slow_twin(tokens, data, cut):
    # Tokens of a few bytes over and over, so that they overlap; some lie where text is cut.
    tokens = {bytes(EDGES[b % len(EDGES)] for b in token) for token in tokens}
    if cut:
        tokens |= {b"the ", b"a.", b". a"}
    ids = {token: n for n, token in enumerate({*tokens, *(bytes([b]) for b in range(256))}, 1)}
    assert LongestMatch(ids)(data) == longest_match_ref(ids, data)


def test_tokens_across_words_are_found():
    ids = {bytes([b]): b + 1 for b in range(256)} | {b"at the": 300, b"a.b": 301, b". ": 302}
    assert not LongestMatch(ids)._cuttable
    assert LongestMatch(ids)(b"at the a.b. ") == [300, 33, 301, 302]


def test_text_is_cut_where_the_vocabulary_allows_it(world, published_world):
    assert world._longest_match._cuttable
    assert published_world._longest_match._cuttable


def test_what_is_remembered_stays_as_it_was(world):
    text = "there and then, thereupon 漢字がé"
    first = world.encode(text)
    kept = list(first)
    first.clear()
    world.encode("there").append(7)
    assert world.encode(text) == kept == world.encode(text * 3)[: len(kept)]


def test_any_number_of_unknown_heads_and_words_does_no_harm(monkeypatch):
    monkeypatch.setattr("harness.language.trie._OTHER_HEADS", 5)
    monkeypatch.setattr("harness.language.trie._REMEMBERED_WORDS", 3)
    ids = {bytes([b]): b + 1 for b in range(256)} | {b"abcd": 300, b"abc": 301, b"xy": 302}
    matching = LongestMatch(ids)
    for data in fuzzed_bytes(list(ids), seed=2, n=100):
        assert matching(data) == longest_match_ref(ids, data)
    assert len(matching._words) <= 3


def test_token_0_is_the_end_of_a_text_and_no_text(world):
    assert world.decode([0]) == ""
    assert world.decode([*world.encode("a"), 0, *world.encode("b")]) == "ab"


def test_an_id_that_only_padding_has_is_a_broken_character(world):
    padding = [world.n_vocab, world.n_vocab + 5]
    assert world.decode([*world.encode("a"), *padding]) == "a\ufffd\ufffd"


@pytest.mark.parametrize("bad", [-1, 10**6])
def test_an_id_beyond_any_padding_is_refused(world, bad):
    with pytest.raises(TokenizerError, match=rf"Token {bad} .* belong to this model"):
        world.decode([5, bad])


def test_parts_of_characters_are_put_together(world):
    split = [*world.encode_bytes(b"\xf0\x9f"), *world.encode_bytes(b"\x99"), 0x82 + 1]
    assert world.decode(split) == "🙂"
    assert world.decode(split[:-1]) == "\ufffd"


def test_numpy_ids_are_decoded(world):
    assert world.decode(np.array(world.encode("they 漢"))) == "they 漢"
    assert world.decode([]) == ""


def test_half_a_surrogate_pair_is_refused(world):
    with pytest.raises(BadInput, match="character 2"):
        world.encode("ab\ud800")


def written(tmp_path, lines, *, end="\n"):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes("".join(line + end for line in lines).encode("utf-8"))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_make_no_difference(tmp_path, world, world_lines, end):
    loaded = load_tokenizer(written(tmp_path, world_lines, end=end))
    text = "the thing\r\n\r\nthen\u2028 é"
    assert loaded.encode(text) == world.encode(text)


def test_the_last_line_may_lack_its_end(tmp_path, world, world_lines):
    path = tmp_path / "vocabulary.txt"
    path.write_text("\ufeff" + "\n".join(world_lines), encoding="utf-8")
    assert load_tokenizer(path).encode("then") == world.encode("then")


def test_gaps_and_a_named_token_0_are_no_obstacle(tmp_path, world_lines):
    lines = ["0 '<|end|>' 7", *world_lines[:256], "400 'the' 3"]
    loaded = load_tokenizer(written(tmp_path, lines))
    assert loaded.n_vocab == 401
    assert loaded.encode("the") == [400]
    assert loaded.decode([399, 400, 0]) == "\ufffdthe"
    assert 0 not in loaded.encode("<|end|>")


BROKEN_LINES = {
    "300 'ab'": "not `index literal length`",
    "300 'ab' two": "not `index literal length`",
    "": "not `index literal length`",
    "300 'ab' 3": "of 2 bytes, but says 3",
    "300 'é' 1": "of 2 bytes, but says 1",
    "300 '' 0": "an empty token",
    "300 ab 2": "not a Python string",
    "300 'ab 2": "not a Python string",
    "300 'a' 'b' 2": "not a Python string",
    "300 ('ab') 2": "not a Python string",
    "300 f'ab' 2": "not a Python string",
    "300 u'ab' 2": "not a Python string",
    "300 ['ab'] 2": "not a Python string",
    "300 '\\d' 2": "not a Python string",
    "300 '\\x4' 1": "not a Python string",
    "300 '\\ud800' 3": "not a Python string",
    "300 b'\\xff\u20ac' 2": "not a Python string",
    "300 __import__('os').getcwd() 2": "not a Python string",
    "300 'then' 4": "the token of line 260 once more",
    "5 'ab' 2": "the index 5 for the second time",
    "999999999 'ab' 2": "the index 999999999, which is too large",
}


@pytest.mark.parametrize("line", BROKEN_LINES)
def test_a_broken_line_is_named_with_what_is_wrong(tmp_path, world_lines, line):
    lines = [*world_lines[:270], line, *world_lines[270:]]
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(written(tmp_path, lines))
    assert "vocabulary.txt has in line 271 " in str(error.value)
    assert BROKEN_LINES[line] in str(error.value)
    assert "rwkv_vocab_v20230424.txt" in str(error.value)


def test_the_published_vocabulary_fits_its_models(published_world):
    assert published_world.n_vocab == 65_530
    published_world.check_fits(65_536)
    with pytest.raises(TokenizerError, match=r"65,530 tokens and the model 50,277"):
        published_world.check_fits(50_277)
    assert published_world.sha256 in wanted_tokenizer(65_536).sha256s
    assert published_world.encode("\n") == [11]
    assert published_world.encode("\n\n") == [261]
    assert published_world.decode(range(65_530, 65_536)) == "\ufffd" * 6


def test_the_published_vocabulary_loads_at_once(published_world):
    # What makes encoding fast is made when it is needed.
    assert len(published_world._longest_match._ids) == 65_529
    assert LongestMatch(published_world._longest_match._ids)._heads == {}


def test_spaces_and_digits_are_found(tokenizer, world, published_world):
    for any_kind in (tokenizer, world, published_world):
        every = [any_kind.decode([i]) for i in range(1, any_kind.n_vocab)]
        within = {i for i, text in enumerate(every, 1) if text and text in " \t0123456789"}
        assert spaces_and_digits(any_kind) == within


def test_every_published_token_by_itself(published_world, official):
    ids = tokens_of(published_world)
    assert len(ids) == 65_529
    assert ids == official.idx2token


def test_encoding_is_the_official_one(published_world, official):
    for text in [*TEXTS, "".join(TEXTS), " ".join(TEXTS)]:
        assert published_world.encode(text) == official.encode(text)
        ids = published_world.encode(text)
        assert published_world.decode(ids) == official.decode(ids) == text
    tokens = list(official.idx2token.values())
    for data in fuzzed_bytes(tokens, seed=1, n=2_000):
        assert published_world.encode_bytes(data) == official.encodeBytes(data)


@given(text=st.text(max_size=60), data=st.binary(max_size=60))
def test_any_text_and_bytes_as_the_official_tokenizer(published_world, official, text, data):
    assert published_world.encode(text) == official.encode(text)
    assert published_world.encode_bytes(data) == official.encodeBytes(data)


@given(ids=st.lists(st.integers(1, 65_529), max_size=12))
def test_decoding_any_ids_as_the_official_tokenizer(published_world, official, ids):
    assert published_world.decode_bytes(ids) == official.decodeBytes(ids)
    ours, theirs = published_world.decode(ids), official.decode(ids)
    # Where anything is broken, theirs is nothing but one U+FFFD.
    assert ours == theirs or (theirs == "\ufffd" and "\ufffd" in ours)


def test_the_end_of_a_text_is_where_decoding_differs(published_world, official):
    ids = [*official.encode("a"), 0]
    assert official.decode(ids) == "\ufffd"
    assert published_world.decode(ids) == "a"
