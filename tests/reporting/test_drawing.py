import re

import pytest
from hypothesis import given, strategies as st

from lilliput.reporting.drawing import Series, chart, thinned

NUMBERS = st.floats(-1e12, 1e12)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_every_point_lies_in_the_drawing(points: list[tuple[float, float]]) -> None:
    drawn = str(chart([Series("a", tuple(points)), Series("b", tuple(points), False)], "x"))
    (line,) = re.findall(r'points="([^"]*)"', drawn)
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    places += [(float(x), float(y)) for x, y in re.findall(r'cx="([^"]*)" cy="([^"]*)"', drawn)]
    assert len(places) == 2 * len(points)
    assert all(0 <= x <= 340 and 0 <= y <= 200 for x, y in places)


def test_numbers_stand_on_the_axes() -> None:
    drawn = str(chart([Series("a", ((0.0, 0.1), (100.0, 0.9)))], "words", percent=True))
    assert re.findall(r'class="y"[^>]*>([^<]*)<', drawn) == ["20 %", "40 %", "60 %", "80 %"]
    assert re.findall(r'class="x"[^>]*>([^<]*)<', drawn) == ["0", "20", "40", "60", "80", "100", "words"]


def test_a_logarithmic_axis_counts_one_two_five() -> None:
    drawn = str(chart([Series("a", ((1.5, 1.0), (30.0, 2.0)), False)], "MB", log=True))
    assert re.findall(r'class="x"[^>]*>([^<]*)<', drawn) == ["2", "5", "10", "20", "MB"]


def test_names_are_escaped() -> None:
    assert "<b>" not in str(chart([Series("<b>", ((0.0, 1.0),), False)], "<b>"))


@pytest.mark.parametrize("count", [1, 159, 160, 161, 5000])
def test_means_of_neighbours_stand_for_many_points(count: int) -> None:
    points = [(float(place), 2.0 * place) for place in range(count)]
    found = thinned(points)
    assert len(found) == min(count, 160)
    assert all(y == pytest.approx(2 * x) for x, y in found)
    assert found == tuple(sorted(found))
