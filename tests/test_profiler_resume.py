import pytest

from diagnostics.contract.errors import BlobwatchError
from profiler.api import Profile
from profiler.fake import FakeMachine
from profiler.settings import Settings
from tests.fake_profiles import CONFIG, FAST, profile, statuses
from trainer.config import load_config


def test_resume_makes_only_the_missing_trials(tmp_path):
    machine = FakeMachine(accidents={1000: ("TrainEpochs", "crashed", "boom")})
    first = profile(tmp_path, machine, rules=("constant", "sqrt"))
    assert statuses(first)[1000] == "crashed"
    again = FakeMachine(s_min=1e6)  # Any training of this machine would show.
    second = profile(tmp_path, again, resume=True, rules=("constant", "sqrt"))
    old = {(t.batch_size, t.rule): t.curve for t in first.record.trials if t.batch_size != 1000}
    new = {(t.batch_size, t.rule): t.curve for t in second.record.trials}
    assert all(new[key] == value for key, value in old.items())
    assert statuses(second)[1000] == "completed"


def test_resume_that_would_lose_trials_of_other_sizes_is_refused(tmp_path):
    profile(tmp_path, sizes=(250, 500))
    before = (tmp_path / "report.json").read_bytes()
    with pytest.raises(BlobwatchError, match=r"report\.json: has trials of batch size 250, 500"):
        profile(tmp_path, sizes=(1000,), resume=True)
    assert (tmp_path / "report.json").read_bytes() == before


def test_resume_that_would_lose_trials_of_a_learning_rate_rule_is_refused(tmp_path):
    profile(tmp_path, sizes=(250, 500), rules=("constant", "sqrt"))
    before = (tmp_path / "report.json").read_bytes()
    with pytest.raises(BlobwatchError, match=r"rule sqrt that would be lost.*--lr-rule"):
        profile(tmp_path, sizes=(250, 500), resume=True)
    assert (tmp_path / "report.json").read_bytes() == before


def test_resume_keeps_what_was_predicted_before_a_size_was_measured(tmp_path):
    first = profile(tmp_path)
    again = FakeMachine(bytes_per_sample=90_000)  # Any other measurement would show.
    second = profile(tmp_path, again, resume=True)
    for old, new in zip(first.record.trials, second.record.trials, strict=True):
        assert (new.predicted_bytes, new.memory) == (old.predicted_bytes, old.memory)


def test_resume_makes_trials_of_a_rule_again_when_the_configured_size_differs(tmp_path):
    rules = ("constant", "sqrt")
    profile(tmp_path, sizes=(250, 500), rules=rules)
    other = load_config(CONFIG, {"batch_size": 500})
    settings = Settings(**FAST, pictures=False, rules=rules)
    made = Profile(other, [250, 500], settings, tmp_path / "report.md", resume=True)
    kept = [(t.batch_size, t.rule) for t in made.record.trials]
    assert kept == [(250, "constant"), (500, "constant")]


def test_resume_makes_everything_again_when_the_epochs_differ(tmp_path, caplog):
    profile(tmp_path, test_epochs=2)
    found = profile(tmp_path, resume=True, test_epochs=3)
    assert {p.epochs_completed for p in found.analysis.profiles} == {3}


def test_a_json_of_another_version_is_named_with_the_remedy(tmp_path):
    (tmp_path / "report.json").write_text('{"schema_version": 1, "trials": "of another shape"}')
    with pytest.raises(BlobwatchError, match=r"report\.json: schema_version 1.*delete it"):
        profile(tmp_path, resume=True)


def test_a_broken_json_is_named_with_the_remedy(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(BlobwatchError, match=r"report\.json: not a profile to resume.*delete"):
        profile(tmp_path, resume=True)
