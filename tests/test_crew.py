"""The threads that share a step."""

from __future__ import annotations

import threading

import pytest
import torch

from trainer.config import create_config, load_config
from trainer.crew import Crew, crew_size
from trainer.objective import new_crew

CPU = torch.device("cpu")


def test_members_work_at_the_same_time_without_pytorchs_own_threads_and_without_gradients() -> None:
    before = torch.get_num_threads()
    meeting = threading.Barrier(3, timeout=60)
    seen: dict[int, tuple[str, int]] = {}

    def work(member: int) -> None:
        meeting.wait()
        seen[member] = threading.current_thread().name, torch.get_num_threads()
        if member:
            assert not (torch.ones(1, requires_grad=True) * 2).requires_grad

    with Crew(3) as crew:
        for _ in range(5):
            crew.each(work)
    assert {n for _, n in seen.values()} == {1}
    assert seen[0][0] == threading.current_thread().name
    assert sorted(seen) == [0, 1, 2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("culprit", [0, 1])
def test_what_a_member_raises_is_raised_when_all_have_ended(culprit: int) -> None:
    ended = []

    def work(member: int) -> None:
        if member == culprit:
            raise ValueError("by a member")
        ended.append(member)

    with Crew(2) as crew:
        with pytest.raises(ValueError, match="by a member"):
            crew.each(work)
        assert ended == [1 - culprit]
        crew.each(ended.append)
    assert sorted(ended[1:]) == [0, 1]


def test_work_that_is_begun_goes_on_beside_the_caller_and_is_done_once() -> None:
    done: list[tuple[int, int]] = []
    with Crew(3) as crew:
        begun = crew.begin(50, lambda member, piece: done.append((piece, member)))
        assert done == []  # members have what they do next first
        others_are_through = threading.Event()

        def meet(member: int) -> None:
            if member == 0:
                others_are_through.wait(60)

        ended = crew.begin(1, lambda member, piece: others_are_through.set())
        crew.each(meet)  # would hang if the others waited for the end of the meeting
        ended.complete()
        begun.complete()
        begun.complete()
    assert sorted(piece for piece, _ in done) == list(range(50))


def test_members_leave_what_is_begun_for_the_next_meeting() -> None:
    wanted = threading.Event()
    done: list[int] = []

    def work(member: int, piece: int) -> None:
        assert member == 0 or wanted.wait(60)
        done.append(piece)

    with Crew(2) as crew:
        begun = crew.begin(1000, work)
        crew.each(lambda member: None)  # from now on the other member is at a piece
        threading.Timer(0.05, wanted.set).start()
        seen: list[int] = []
        crew.each(lambda member: seen.append(len(done)) if member else None)
        assert seen == [1]
        begun.complete()
    assert sorted(done) == list(range(1000))


def test_what_a_piece_raises_beside_the_caller_is_raised_when_it_is_completed() -> None:
    def fail(member: int, piece: int) -> None:
        if member:
            raise ValueError("by a member")

    with Crew(2) as crew:
        begun = crew.begin(3, fail)
        crew.each(lambda member: None)
        crew.each(lambda member: None)
        with pytest.raises(ValueError, match="by a member"):
            begun.complete()
        crew.deal(3, lambda member, piece: None)


def test_parts_cover_everything_once_and_evenly() -> None:
    crew = Crew(3)
    parts = [list(range(10))[crew.part(10, member)] for member in range(3)]
    assert [*parts[0], *parts[1], *parts[2]] == list(range(10))
    assert {len(part) for part in parts} == {3, 4}


def test_a_crew_is_as_large_as_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert crew_size(10_000, 1024, 512) == 4
    assert crew_size(2_000, 1024, 512) == 1  # too few samples for two sets of gradients
    assert crew_size(2_000, 256, 64) == 2  # too little work for four
    assert crew_size(1_000, 256, 64) == 2
    assert crew_size(250, 256, 64) == 1


def test_tiny_steps_get_one_thread_and_the_caller_has_its_threads_back() -> None:
    before = torch.get_num_threads()
    config = load_config(create_config("quick_3blob", batch_size=250))
    with new_crew(config, CPU) as crew:
        assert (crew.size, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == before
    assert new_crew(config, torch.device("cuda")).threads is None
