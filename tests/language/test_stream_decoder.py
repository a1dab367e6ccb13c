from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.language.stream import BROKEN, StreamDecoder
from harness.language.tokenizer import load_tokenizer


def stream(decode, ids):
    decoder = StreamDecoder(decode)
    return [decoder.push(i) for i in ids] + [decoder.finish()]


@given(text=st.text())
def test_pieces_make_up_the_text_and_no_character_is_broken(tokenizer, text):
    pieces = stream(tokenizer.decode, tokenizer.encode(text))
    assert "".join(pieces) == text
    if BROKEN not in text:
        assert BROKEN not in "".join(pieces)


@given(ids=st.lists(st.integers(0, 279)))
def test_any_ids_give_what_decoding_them_at_once_gives(tokenizer, ids):
    assert "".join(stream(tokenizer.decode, ids)) == tokenizer.decode(ids)


@given(text=st.text(min_size=1))
def test_a_character_is_held_back_until_it_is_whole(tokenizer, text):
    ids = tokenizer.encode(text)
    decoder = StreamDecoder(tokenizer.decode)
    shown = ""
    for n, token_id in enumerate(ids, start=1):
        shown += decoder.push(token_id)
        # All that is certain, and nothing else: what is decoded so far less an incomplete end.
        assert shown == tokenizer.decode(ids[:n]).rstrip(BROKEN)


def test_ascii_comes_at_once(tokenizer):
    ids = tokenizer.encode("they thought")
    pieces = stream(tokenizer.decode, ids)
    assert pieces == [tokenizer.decode([i]) for i in ids] + [""]


def test_an_end_inside_a_character_is_shown_as_broken(tokenizer):
    ids = tokenizer.encode("a漢")[:-1]
    assert stream(tokenizer.decode, ids)[-1] == BROKEN


def test_finish_starts_anew(tokenizer):
    decoder = StreamDecoder(tokenizer.decode)
    decoder.push(tokenizer.encode("漢")[0])
    decoder.finish()
    assert decoder.finish() == ""
    assert decoder.push(tokenizer.encode("a")[0]) == "a"


def spaced_tokenizer(decoder):
    """Words with a space mark; the decoder drops the space before the first word."""
    inner = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "b": 2, "?": 3}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    if decoder is not None:
        inner.decoder = decoder
    return inner


@pytest.mark.parametrize("decoder", [decoders.Metaspace(), decoders.WordPiece(), None])
@pytest.mark.parametrize("ids", [[0, 1, 0], [2, 0, 2, 3], [1], []])
def test_decoders_that_look_at_the_token_before(tmp_path, decoder, ids):
    path = tmp_path / "spaced.json"
    path.write_text(spaced_tokenizer(decoder).to_str(), encoding="utf-8")
    tokenizer = load_tokenizer(path)
    assert "".join(stream(tokenizer.decode, ids)) == tokenizer.decode(ids)
