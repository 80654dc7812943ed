import pytest

from profiler import contention
from profiler.limits import find_largest
from profiler.memory import agrees, fit_memory, floor_model, host_available
from trainer.config import load_config

MEMINFO = "MemTotal: 1000 kB\nMemAvailable:     8000 kB\n"


def machine(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_without_a_cgroup_limit_mem_available_counts(tmp_path):
    root = machine(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/\n"})
    found = host_available(root)
    assert (found.n_bytes, found.source) == (8000 * 1024, "MemAvailable")


def test_a_cgroup_v2_limit_of_a_parent_binds_and_page_cache_is_not_used_memory(tmp_path):
    root = machine(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.max": "5000000\n",
            "sys/fs/cgroup/a/memory.current": "3000000\n",
            "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 1000000\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/b/memory.current": "10\n",
        },
    )
    found = host_available(root)
    assert (found.n_bytes, found.source) == (3_000_000, "cgroup v2")


def test_a_cgroup_v1_limit_binds_and_its_number_for_no_limit_does_not(tmp_path):
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/x\n1:cpu:/\n",
        "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "10\n",
    }
    assert host_available(machine(tmp_path, files)).source == "MemAvailable"
    files["sys/fs/cgroup/memory/x/memory.limit_in_bytes"] = "4000000\n"
    found = host_available(machine(tmp_path, files))
    assert (found.n_bytes, found.source) == (3_999_990, "cgroup v1")


def test_the_prediction_follows_the_two_largest_sizes():
    model = fit_memory([(10, 300), (100, 300), (1000, 1000), (2000, 2000)])
    assert model.peak_bytes(4000) == 4000
    assert model.largest_size(3000) == 3000
    assert fit_memory([(10, 300)]) is None
    assert agrees(109, 100)
    assert not agrees(120, 100)


def test_a_size_that_costs_nothing_has_no_largest():
    assert fit_memory([(10, 300), (20, 300)]).largest_size(1000) is None


def test_before_anything_was_measured_the_prediction_is_what_a_real_step_needs_at_least():
    import torch

    from trainer.data import SignalSource

    config = load_config("quick_3blob", {"batch_size": 500, "device": "cpu"})
    batch = SignalSource(config.data, 500, 500, "train", torch.device("cpu")).batch(1, 0)
    n_bytes = batch.inputs.nbytes + batch.active.nbytes
    data = config.data
    model = floor_model(data.d, config.model.hidden_size, data.sparsity, 10**8)
    assert model.bytes_per_sample * 500 == n_bytes
    assert model.base_bytes > 10**8


@pytest.mark.parametrize("bend", [1.0, 1.2, 1.5])
def test_the_search_for_the_limit_stands_a_bent_line(bend):
    def probe(size):
        peak = int(1e6 + 100 * size**bend)
        return peak if peak <= 5e7 else None

    truth = max(s for s in range(1, 1_000_000, 50) if int(1e6 + 100 * s**bend) <= 5e7)
    limit = find_largest(probe, {100: probe(100), 200: probe(200)}, None, int(5e7), 10_000_000)
    assert 0.95 * truth <= limit.largest <= truth + 50


def test_no_probe_is_ever_above_a_size_that_did_not_fit():
    probed = []

    def probe(size):
        probed.append(size)
        return 100 * size if size <= 777 else None

    find_largest(probe, {}, 2000, 10**9, 10**6)
    failed = [2000]
    for size in probed:
        assert size < min(failed)
        if size > 777:
            failed.append(size)


def test_waiting_times_are_summed_over_threads(tmp_path):
    for thread, text in (("1", "5 2000000000 7\n"), ("2", "5 500000000 7\n")):
        folder = tmp_path / "42/task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert contention.waited_s(42, tmp_path) == pytest.approx(2.5)
    assert contention.waited_s(43, tmp_path) is None


@pytest.mark.parametrize(
    ("group", "folder", "line"),
    [
        ("0::/user.slice/job", "user.slice/job", "throttled_usec 1500000"),
        ("0::/user.slice/job", "user.slice", "throttled_usec 1500000"),
        ("0::/", "", "throttled_usec 1500000"),
        ("3:cpu,cpuacct:/job", "cpu/job", "throttled_time 1500000000"),
    ],
)
def test_throttling_of_the_own_control_group_or_one_above_it_counts_as_lost_time(
    tmp_path, group, folder, line
):
    root = machine(
        tmp_path,
        {
            "proc/stat": "cpu 1 2 3 4 5 6 7 0 0 0\n",
            "proc/self/cgroup": f"{group}\n",
            f"sys/fs/cgroup/{folder}/cpu.stat": f"usage_usec 5\n{line}\n",
            "sys/fs/cgroup/other.slice/cpu.stat": "throttled_usec 9000000\n",
        },
    )
    assert contention.stolen_s(root) == pytest.approx(1.5)


def test_free_cores_are_those_without_a_runnable_task_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    (tmp_path / "loadavg").write_text("0.1 0.2 0.3 3/100 77\n")
    assert contention.free_cores(tmp_path) == 2
    assert contention.wait_for_cores(2, 0.1, tmp_path)
    assert not contention.wait_for_cores(3, 0.02, tmp_path)
