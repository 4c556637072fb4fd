from __future__ import annotations

from stagebench.present.style import PART_COLOURS, pale, stage_colours


def test_stages_have_colours_of_their_own_and_none_of_a_part_of_memory():
    colours = stage_colours([f"stage-{n}" for n in range(6)])
    assert len(set(colours.values())) == 6
    assert not set(colours.values()) & set(PART_COLOURS.values())


def test_any_number_of_stages_has_colours():
    assert len(stage_colours([f"stage-{n}" for n in range(25)])) == 25


def test_a_pale_colour_is_lighter_and_still_a_colour():
    assert pale((0.0, 0.5, 1.0)) == (0.7, 0.85, 1.0)
