"""The rules of texts, a column at a time, are those of one text."""

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from aurora_batch.schema.fields import GPU, REQUEST_ID, Text
from aurora_batch.schema.rules import broken_text, is_text

ODD = "\x00\x1f \x7f\x80\x9f\xa0\u2027\u2028\u2029\u202a\ue080é東🐎|"
TEXTS = st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=6)
LONG = st.integers(120, 260).flatmap(lambda n: st.sampled_from("aé🐎").map(lambda c: c * n))


@given(
    st.lists(st.none() | TEXTS | LONG, max_size=8),
    st.sampled_from([REQUEST_ID, GPU]),
    st.integers(0, 3),
)
@example([*ODD], REQUEST_ID, 0)
def test_column_and_value_keep_one_rule(texts: list[str | None], field: Text, low: int) -> None:
    """Empty, long, control characters of one, two and three bytes; in a part of a column too."""
    broken = broken_text(pa.array(texts, pa.string())[low:], field)

    assert broken.tolist() == [t is not None and not is_text(t, field) for t in texts[low:]]
