"""The documents keep up with the code."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import msgspec
import pytest

from diagnostics.contract import events, results, snapshot, wire
from tests.conftest import ROOT
from trainer import config

MESSAGES = [
    events.RunStarted,
    events.TraceStarted,
    events.EpochEnded,
    events.RunEnded,
    events.Timing,
    events.ProcessIdentity,
    wire.Fetch,
    wire.Deliver,
    snapshot.SnapshotHeader,
    snapshot.ArrayLayout,
]
RESULTS = [results.Results, results.Segment, results.Stage2, results.Trace, events.Timing]


def missing(document: str, schemas: list[type[msgspec.Struct]]) -> list[str]:
    text = (ROOT / "docs" / document).read_text()
    named = set(re.findall(r"`([^`]+)`", text))
    fields = {name for schema in schemas for name in schema.__struct_fields__}
    return sorted(fields - named)


def test_every_field_of_the_messages_is_documented() -> None:
    assert missing("messages.md", MESSAGES) == []


def test_every_field_of_the_results_is_documented() -> None:
    assert missing("results.md", RESULTS) == []


def test_every_key_of_the_configuration_is_documented() -> None:
    top = set(config.ExperimentConfig.__struct_fields__) - set(config.SECTIONS)
    text = (ROOT / "docs" / "training.md").read_text()
    assert top - set(re.findall(r"`([^`]+)`", text)) == set()
    assert missing("training.md", list(config.SECTIONS.values())) == []


def test_every_dependency_is_justified_and_no_other() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    sections = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    names = set(re.findall(r"^([a-zA-Z][\w.-]*)[><=]", "\n".join(sections), flags=re.MULTILINE))
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert set(re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)) == names


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), target
