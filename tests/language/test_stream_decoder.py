from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.language.stream import BROKEN, MOST_HELD, StreamDecoder
from harness.language.tokenizer import load_tokenizer


def stream(decode, ids):
    decoder = StreamDecoder(decode)
    return [decoder.push(i) for i in ids] + [decoder.finish()]


@given(text=st.text())
def test_pieces_make_up_the_text_and_no_character_is_broken(either, text):
    pieces = stream(either.decode, either.encode(text))
    assert "".join(pieces) == text
    if BROKEN not in text:
        assert BROKEN not in "".join(pieces)


@pytest.fixture(scope="module", params=["json", "world"])
def either(request, tokenizer, world):
    return {"json": tokenizer, "world": world}[request.param]


@given(ids=st.lists(st.integers(0, 279)))
def test_any_ids_give_what_decoding_them_at_once_gives(either, ids):
    assert "".join(stream(either.decode, ids)) == either.decode(ids)


@given(data=st.data())
def test_many_ids_give_what_decoding_them_at_once_gives(either, data):
    # Few of them, so that the beginnings and ends of characters meet, far beyond any context.
    few = data.draw(st.lists(st.integers(0, 279), min_size=1, max_size=4))
    ids = data.draw(st.lists(st.sampled_from(few), min_size=60, max_size=120))
    assert "".join(stream(either.decode, ids)) == either.decode(ids)


@given(text=st.text(min_size=1))
def test_a_character_is_held_back_until_it_is_whole(either, text):
    ids = either.encode(text)
    decoder = StreamDecoder(either.decode)
    shown = ""
    for n, token_id in enumerate(ids, start=1):
        shown += decoder.push(token_id)
        # All that is certain, and nothing else: what is decoded so far less an incomplete end.
        so_far = either.decode(ids[:n])
        assert shown == so_far[: max(len(so_far.rstrip(BROKEN)), len(so_far) - MOST_HELD)]


@pytest.mark.parametrize("text", ["🙂", "👩‍👩", "漢字", "가", "a漢b", "é🇫🇷", "\U0010ffff"])
def test_every_split_of_a_character(text):
    """Tokens are any parts of the text's bytes, cut in every way there is."""
    data = text.encode("utf-8")
    assert len(data) <= 12  # 2,048 ways
    for cuts in range(2 ** (len(data) - 1)):
        ends = [n for n in range(1, len(data)) if cuts >> (n - 1) & 1] + [len(data)]
        tokens = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        decoder = StreamDecoder(
            lambda ids, t=tokens: b"".join(t[i] for i in ids).decode("utf-8", errors="replace")
        )
        for n, end in enumerate(ends):
            assert decoder.push(n) == whole(data[:end])[len(whole(data[: end - len(tokens[n])])) :]
        assert decoder.finish() == ""


def test_decoders_that_show_each_byte_as_broken():
    """Some do so until the last byte of a character is there."""

    def decode(ids):
        shown, data = "", bytes(ids)
        while data:
            length = next((n for n in range(1, 5) if whole(data[:n])), None)
            shown += BROKEN if length is None else data[:length].decode("utf-8")
            data = data[length or 1 :]
        return shown

    for text in ("é", "漢", "🙂"):
        data = text.encode("utf-8")
        assert stream(decode, data) == [""] * (len(data) - 1) + [text, ""]


def whole(data):
    """The characters of UTF-8 that are there to their last byte."""
    return data.decode("utf-8", errors="ignore")


def test_bytes_that_never_become_a_character_are_not_held_back_for_ever(either):
    broken = next(i for i in range(either.n_vocab) if either.decode([i]) == BROKEN)
    decoder = StreamDecoder(either.decode)
    pieces = [decoder.push(broken) for _ in range(200)]
    assert pieces == [""] * MOST_HELD + [BROKEN] * (200 - MOST_HELD)
    assert decoder.push(either.encode("a")[0]) == BROKEN * MOST_HELD + "a"
    assert len(decoder._ids) < 40


def test_long_text_is_not_decoded_over_and_over(world):
    lengths = []

    def decode(ids):
        lengths.append(len(ids))
        return world.decode(ids)

    # Each token ends inside a character, so that no prefix of them is whole.
    across = world.encode_bytes(b"\xa2\xe5")
    ids = [*world.encode_bytes(b"\xe6\xbc"), *across, *world.encode_bytes(b"\xad\x97")] * 50
    assert "".join(stream(decode, ids)) == world.decode(ids) == "漢字" * 50
    assert max(lengths) <= 40


def test_ascii_comes_at_once(tokenizer):
    ids = tokenizer.encode("they thought")
    pieces = stream(tokenizer.decode, ids)
    assert pieces == [tokenizer.decode([i]) for i in ids] + [""]


def test_an_end_inside_a_character_is_shown_as_broken(tokenizer, world):
    ids = tokenizer.encode("a漢")[:-1]
    assert stream(tokenizer.decode, ids)[-1] == BROKEN
    assert stream(world.decode, world.encode_bytes("a漢".encode()[:-1])) == ["a", "", BROKEN]


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
