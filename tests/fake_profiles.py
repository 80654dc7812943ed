"""Profiles on a made-up machine, for the profiler's tests."""

from profiler.api import Profile
from profiler.fake import FakeBackend
from profiler.progress import NoProgress
from profiler.settings import Settings
from trainer.config import load_config

CONFIG = load_config("quick_3blob", {"n_train": 20000, "device": "cpu"})
FAST = {"windows_s": 0.2, "busy_windows_s": 0.2}


def profile(tmp_path, machine=None, sizes=(250, 500, 1000, 2000), resume=False, **settings):
    settings = {"pictures": False, **settings}
    made = Profile(
        CONFIG, list(sizes), Settings(**FAST, **settings), tmp_path / "report.md", resume=resume
    )
    backend = FakeBackend(machine)
    found = made.run(backend, NoProgress())
    assert backend.machine.n_running == 0
    return found


def statuses(found):
    return {p.batch_size: p.status for p in found.analysis.profiles}
