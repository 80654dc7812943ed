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
    assert crew_size(250, 256, 64) == 1


def test_tiny_steps_get_one_thread_and_the_caller_has_its_threads_back() -> None:
    before = torch.get_num_threads()
    config = load_config(create_config("quick_3blob", batch_size=250))
    with new_crew(config, CPU) as crew:
        assert (crew.size, torch.get_num_threads()) == (1, 1)
    assert torch.get_num_threads() == before
    assert new_crew(config, torch.device("cuda")).threads is None
