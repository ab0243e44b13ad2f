"""Rows of different lengths: what is taken from one array is what lists of rows hold."""

import numpy as np
from hypothesis import given, strategies as st

from lilliput.common.ragged import Ragged, rank_in_row

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


@given(ROWS, st.data())
def test_rows_are_found_again(rows: list[list[int]], data: st.DataObject) -> None:
    ragged = Ragged.of(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9))
    index = np.array(chosen, np.int64)
    assert ragged.rows() == rows
    assert [ragged[row].tolist() for row in chosen] == [rows[row] for row in chosen]
    taken = ragged.take(index)
    assert [taken[place].tolist() for place in range(len(taken))] == [rows[row] for row in chosen]
    places, row = ragged.places(index)
    assert ragged.values[places].tolist() == taken.values.tolist()
    assert row.tolist() == [place for place, each in enumerate(chosen) for _ in rows[each]]


@given(st.lists(st.integers(0, 5), max_size=9))
def test_ranks_count_from_nought_in_each_row(lengths: list[int]) -> None:
    ranks = rank_in_row(np.array(lengths, np.int64))
    assert ranks.tolist() == [rank for length in lengths for rank in range(length)]


def test_no_rows_hold_nothing() -> None:
    assert len(Ragged.of([])) == 0
    assert Ragged.of([]).rows() == []
    assert Ragged.of([]).take(np.empty(0, np.int64)).offsets.tolist() == [0]


def test_the_kind_of_number_is_kept() -> None:
    table = Ragged(np.array([7, 8, 9], np.int32), np.array([0, 1, 3]))
    assert table[1].tolist() == [8, 9]
    assert table.lengths.tolist() == [1, 2]
    assert table.take(np.array([1])).values.dtype == np.int32
