"""Answers are kept by a random id, counted by room, and hold nothing else."""

import pytest

from ilora.lab.content.classroom import Classroom, new_learner, new_room, read_room
from ilora.lab.runs.store import Store, StoreError


@pytest.fixture
def room(tmp_path):
    return Classroom(Store(tmp_path))


def test_the_first_answer_counts_and_is_marked_later(room):
    me = new_learner()
    room.answer(me, "ABCDE", "drift", 0, "less")
    room.answer(me, "ABCDE", "drift", 0, "more")
    assert room.answers(me)["drift", 0].choice == "less"
    assert room.answers(me)["drift", 0].good is None
    room.mark(me, "drift", 0, True)
    assert room.answers(me)["drift", 0].good is True


def test_a_room_counts_its_own_learners_only(room):
    for choice, code in (("less", "ABCDE"), ("less", "abcde "), ("more", "ABCDE"), ("less", "ZZZZZ"), ("less", "")):
        room.answer(new_learner(), code, "drift", 1, choice)
    assert room.counts("ABCDE") == {("drift", 1): {"less": 2, "more": 1}}
    assert room.learners("ABCDE") == 3
    room.close("ABCDE")
    assert room.counts("ABCDE") == {}
    assert room.learners("ZZZZZ") == 1


def test_starting_over_forgets_one_lesson_of_one_learner(room):
    me, other = new_learner(), new_learner()
    for learner in (me, other):
        room.answer(learner, "", "drift", 0, "less")
        room.answer(learner, "", "rank-collapse", 0, "few")
    room.forget(me, "drift")
    assert set(room.answers(me)) == {("rank-collapse", 0)}
    assert len(room.answers(other)) == 2


@pytest.mark.parametrize("name", ["Ada", "", "0123456789ab", "'; DROP TABLE answers"])
def test_a_learner_is_a_number_and_never_a_name(room, name):
    with pytest.raises(StoreError, match="ten digits"):
        room.answer(name, "", "drift", 0, "less")


def test_codes_are_read_as_people_type_them():
    assert read_room(f" {new_room().lower()} ")
    assert [read_room(text) for text in ("ABCD", "ABCDEF", "AB-DE", "O0I1L", "")] == [""] * 5


def test_an_older_database_gets_the_table(tmp_path):
    store = Store(tmp_path)
    Classroom(store)
    assert Classroom(Store(tmp_path)).answers(new_learner()) == {}
