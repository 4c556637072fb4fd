"""What processes gained and lost of mapped files, added up."""

from stagebench.sampler.moves import Moves

MAIN, CHILD, OTHER = 7, 8, 9


def test_moves_add_up_what_processes_gained_and_lost():
    moves = Moves()
    for pid, shared in ((MAIN, 10), (CHILD, 4), (MAIN, 13), (CHILD, 1), (MAIN, 13)):
        moves.note(pid, shared)
    assert (moves.mapped, moves.unmapped) == (10 + 4 + 3, 3)
    assert moves.processes == {MAIN, CHILD}


def test_a_process_that_ends_loses_all_and_one_that_was_never_seen_nothing():
    moves = Moves()
    moves.note(MAIN, 10)
    moves.end(MAIN)
    moves.end(OTHER)
    assert (moves.mapped, moves.unmapped, set(moves.processes)) == (10, 10, set())
    moves.note(MAIN, 6)  # after an exec
    assert (moves.mapped, moves.unmapped) == (16, 10)
