"""Settings: where they are found, what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline_guard.config import (
    DEFAULT_MAX_FILE_SIZE,
    App,
    Config,
    ConfigError,
    Contract,
    PathSettings,
    check_selectors,
    load_config,
    parse_selectors,
    read_config,
)
from pipeline_guard.toml_places import line_of

EVERYTHING = """
[tool.pipeline-guard]
select = ["PG1", "PG201"]
ignore = ["PG105"]
exclude = ["/old/", "**/migrations/*"]
max-file-size = 2_000_000
fail-on = "error"
paths = ["services"]
vocabulary = ["voices.toml"]

[tool.pipeline-guard.contract]
queue = "realtime_audio_in_queue"
sender = "audio_sender_loop"
trigger = "trigger_response"
active-response = "active_response_id"
normal-turn = "client"

[tool.pipeline-guard.severity]
PG105 = "note"

[[tool.pipeline-guard.sink]]
kind = "audio_send"
call = "voicebridge.push"

[[tool.pipeline-guard.app]]
name = "inbound"
paths = ["services/inbound/"]
contract = { trigger = "speak" }

[[tool.pipeline-guard.app]]
name = "outbound"
paths = ["services/outbound/"]

[tool.pipeline-guard.per-path."examples/**"]
ignore = ["PG2"]
severity = { PG101 = "note" }
"""
COMMON = Contract("realtime_audio_in_queue", "audio_sender_loop", "trigger_response", "active_response_id", "client")


def pyproject(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def table(folder: Path, text: str) -> Path:
    return pyproject(folder, f"[tool.pipeline-guard]\n{text}\n")


def complaint(folder: Path, text: str, line: int = 2) -> str:
    """Return what is said about one line below the table's header."""
    path = table(folder, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path.resolve()}:{line}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path.resolve()}:{line}: ")


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    config = load_config(tmp_path)
    assert config == Config()
    assert config.max_file_size == DEFAULT_MAX_FILE_SIZE
    assert config.base is None


def test_every_setting_is_read(tmp_path: Path) -> None:
    (tmp_path / "voices.toml").write_text("", encoding="utf-8")
    (tmp_path / "services").mkdir()
    path = pyproject(tmp_path, EVERYTHING).resolve()
    assert load_config(tmp_path) == Config(
        select=("PG1", "PG201"),
        ignore=("PG105",),
        exclude=("/old/", "**/migrations/*"),
        max_file_size=2_000_000,
        fail_on="error",
        contract=COMMON,
        severity={"PG105": "note"},
        vocabulary=(path.parent / "voices.toml",),
        sinks=({"kind": "audio_send", "call": "voicebridge.push"},),
        apps=(
            App("inbound", ("services/inbound/",), replace(COMMON, trigger="speak")),
            App("outbound", ("services/outbound/",), COMMON),
        ),
        per_path=(PathSettings("examples/**", ("PG2",), {"PG101": "note"}),),
        paths=("services",),
        source=path,
    )


@pytest.mark.parametrize("name", ["pipeline-guard.toml", ".pipeline-guard.toml"])
def test_a_file_of_its_own_has_the_same_keys_at_top_level(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('\ufeffignore = ["PG2"]\r\n[contract]\r\ntrigger = "speak"\r\n', encoding="utf-8")
    config = load_config(tmp_path)
    assert (config.ignore, config.contract.trigger, config.base) == (("PG2",), "speak", tmp_path.resolve())


def test_the_nearest_file_wins_and_foreign_pyprojects_are_passed_over(tmp_path: Path) -> None:
    inner = tmp_path / "server" / "agent"
    inner.mkdir(parents=True)
    table(tmp_path, 'ignore = ["PG1"]')
    pyproject(tmp_path / "server", "[tool.other]\nx = 1\n")
    assert load_config(inner).ignore == ("PG1",)
    (tmp_path / "server" / "pipeline-guard.toml").write_text('ignore = ["PG2"]', encoding="utf-8")
    assert load_config(inner).ignore == ("PG2",)


def test_the_search_ends_at_the_top_of_the_repository(tmp_path: Path) -> None:
    table(tmp_path, 'ignore = ["PG1"]')
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    assert load_config(tmp_path / "repo") == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("excludes = []", "tool.pipeline-guard.excludes: is not a setting; did you mean 'exclude'?"),
        ("quux = 1", "tool.pipeline-guard.quux: is not a setting"),
        ('exclude = "old"', 'tool.pipeline-guard.exclude: must be a list of strings, such as ["one", "two"]'),
        ('exclude = ["!"]', "tool.pipeline-guard.exclude: '!' is not a pattern as in .gitignore"),
        (
            'select = ["E501"]',
            "tool.pipeline-guard.select: 'E501' is not a rule id such as PG201, a prefix such as PG2, or ALL",
        ),
        ("max-file-size = 0", "tool.pipeline-guard.max-file-size: must be a whole number of bytes above zero"),
        ('fail-on = "never"', "tool.pipeline-guard.fail-on: must be 'error' or 'warning' or 'note', not 'never'"),
        ("max-file-size = true", "tool.pipeline-guard.max-file-size: must be a whole number of bytes above zero"),
        ("contract = 1", "tool.pipeline-guard.contract: must be a table"),
        (
            'contract = {sendr = "x"}',
            "tool.pipeline-guard.contract.sendr: is not a setting; did you mean 'sender'?",
        ),
        ('contract = {sender = " "}', "tool.pipeline-guard.contract.sender: must be a name in quotes"),
        (
            'contract = {normal-turn = "clent"}',
            "tool.pipeline-guard.contract.normal-turn: "
            "must be 'client' or 'server', not 'clent'; did you mean 'client'?",
        ),
        ('severity = {PG1 = "note"}', "tool.pipeline-guard.severity.PG1: is not a rule id such as PG201"),
        (
            'severity = {PG101 = "fatal"}',
            "tool.pipeline-guard.severity.PG101: must be 'error' or 'warning' or 'note', not 'fatal'",
        ),
        ("sink = {}", "tool.pipeline-guard.sink: must be a list of tables: write [[tool.pipeline-guard.sink]]"),
        (
            "sink = [{call = 'push', kind = 'audio'}]",
            "tool.pipeline-guard.sink[1].kind: must be 'audio_send' or 'response_create' or 'auto_response', "
            "not 'audio'; did you mean 'audio_send'?",
        ),
        (
            "sink = [{call = 'push()', kind = 'audio_send'}]",
            "tool.pipeline-guard.sink[1].call: 'push()' must be Class.method, module.function or a bare name",
        ),
        ("sink = [{kind = 'audio_send'}]", "tool.pipeline-guard.sink[1].call: must be a name in quotes"),
        ("sink = [{cal = 'push'}]", "tool.pipeline-guard.sink[1].cal: is not a setting; did you mean 'call'?"),
        ("lanes = {}", "tool.pipeline-guard.lanes: is not a setting"),
        ("exclude = [1]", 'tool.pipeline-guard.exclude: must be a list of strings, such as ["one", "two"]'),
        (
            "contract = {trigger = 'self.speak()'}",
            "tool.pipeline-guard.contract.trigger: 'self.speak()' is not a name in Python; "
            "write it without 'self.', brackets or arguments",
        ),
        ("contract = {queue = 3}", "tool.pipeline-guard.contract.queue: must be a name in quotes"),
        ("contract = {normal-turn = true}", "tool.pipeline-guard.contract.normal-turn: must be a name in quotes"),
        (
            "paths = ['nowhere']",
            "tool.pipeline-guard.paths: there is no 'nowhere'; paths are relative to the configuration file",
        ),
        (
            "app = {name = 'one'}",
            "tool.pipeline-guard.app: must be a list of tables: write [[tool.pipeline-guard.app]]",
        ),
        (
            "app = [{name = 'one'}]",
            "tool.pipeline-guard.app[1]: needs 'paths': an app is a name and the files that are its alone",
        ),
        (
            "app = [{paths = ['a/']}]",
            "tool.pipeline-guard.app[1]: needs 'name': an app is a name and the files that are its alone",
        ),
        (
            "app = [{name = 'a', paths = ['a/']}, {name = 'a', paths = ['b/']}]",
            "tool.pipeline-guard.app[2].name: two apps are called 'a'",
        ),
        (
            "app = [{name = 'a', path = ['a/']}]",
            "tool.pipeline-guard.app[1].path: is not a setting; did you mean 'paths'?",
        ),
        (
            "app = [{name = 'a', paths = ['a/'], contract = {queu = 'q'}}]",
            "tool.pipeline-guard.app[1].contract.queu: is not a setting; did you mean 'queue'?",
        ),
        ("per-path = []", "tool.pipeline-guard.per-path: must be a table"),
        ('per-path = {"examples/**" = ["PG2"]}', 'tool.pipeline-guard.per-path."examples/**": must be a table'),
        (
            'per-path = {"examples/**" = {ignored = []}}',
            "tool.pipeline-guard.per-path.\"examples/**\".ignored: is not a setting; did you mean 'ignore'?",
        ),
        (
            'per-path = {"examples/**" = {severity = {PG101 = "off"}}}',
            'tool.pipeline-guard.per-path."examples/**".severity.PG101: '
            "must be 'error' or 'warning' or 'note', not 'off'",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    assert complaint(tmp_path, text) == expected


def test_a_vocabulary_file_has_to_exist(tmp_path: Path) -> None:
    assert complaint(tmp_path, 'vocabulary = ["none.toml"]').startswith(
        f"tool.pipeline-guard.vocabulary: there is no file {tmp_path.resolve() / 'none.toml'}"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[tool\n", "is not valid TOML"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x = 1\n", "has no [tool.pipeline-guard]"),
    ],
)
def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"pyproject\.toml") as caught:
        read_config(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("select", "ignore", "rule", "wanted"),
    [
        ((), (), "PG201", True),
        (("PG1",), (), "PG201", False),
        (("PG2",), ("PG201",), "PG201", False),
        (("PG201",), ("PG2",), "PG201", True),
        (("PG2",), ("PG2",), "PG201", False),
        (("ALL",), ("PG2",), "PG201", False),
        ((), ("ALL",), "PG201", False),
        (("PG201",), ("ALL",), "PG201", True),
    ],
)
def test_the_more_specific_of_select_and_ignore_wins(
    select: tuple[str, ...], ignore: tuple[str, ...], rule: str, wanted: bool
) -> None:
    assert Config(select=select, ignore=ignore).is_selected(rule) is wanted


SELECTORS = st.lists(st.sampled_from(["ALL", "PG", "PG1", "PG2", "PG10", "PG20", "PG101", "PG201"]), max_size=4).map(
    tuple
)


@given(SELECTORS, SELECTORS, st.sampled_from(["PG101", "PG201", "PG901"]))
def test_ignoring_a_rule_by_its_id_always_works(select: tuple[str, ...], ignore: tuple[str, ...], rule: str) -> None:
    assert not Config(select=select, ignore=(*ignore, rule)).is_selected(rule)
    assert Config(select=(*select, rule), ignore=tuple(name for name in ignore if name != rule)).is_selected(rule)


def test_severities_can_be_changed() -> None:
    config = Config(severity={"PG105": "note"})
    assert config.severity_of("PG105", "warning") == "note"
    assert config.severity_of("PG101", "error") == "error"


def test_a_selector_that_no_rule_answers_to_is_an_error() -> None:
    check_selectors(Config(select=("PG1", "ALL"), ignore=("PG201",)), ["PG101", "PG201"])
    with pytest.raises(ConfigError, match="no rule is called 'PG210'; did you mean 'PG201'"):
        check_selectors(Config(ignore=("PG210",)), ["PG101", "PG201"])


def test_selectors_on_the_command_line() -> None:
    assert parse_selectors(" pg201 ,PG1,", "--select") == ("PG201", "PG1")
    with pytest.raises(ConfigError, match="--select: 'X1' is not a rule id"):
        parse_selectors("X1", "--select")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[tool.other]\nselct = 1\n[tool.pipeline-guard]\n# selct = []\nselct = []', 5),
        ('[tool.pipeline-guard]\nignore = ["PG1"]\n\n[tool.pipeline-guard.contrat]\ntrigger = "x"', 4),
        ('[tool.pipeline-guard]\n[tool.pipeline-guard.contract]\ntrigger = "x"\nsendr = "x"', 4),
        ('[tool.pipeline-guard.contract]\n"trigger" = "x"\n\'sendr\' = "x"', 3),
        ('tool.pipeline-guard.contract.trigger = "x"\ntool.pipeline-guard.contract.sendr = "x"', 2),
        ('[tool]\npipeline-guard = { ignore = [], contract = { sendr = "x" } }', 2),
        ('[tool.x]\nabout = """\n[tool.pipeline-guard]\nselct = 1\n"""\n[tool.pipeline-guard]\nselct = 1', 7),
        ('[[tool.pipeline-guard.app]]\nname = "a"\npaths = ["a"]\n'
         '[[tool.pipeline-guard.app]]\nname = "b"\npaths = ["b"]\n[tool.pipeline-guard.app.contract]\nsendr = "x"', 8),
        ('[tool.pipeline-guard.per-path."a.[b]/*"]\nignore = []\nignored = []', 3),
        ('[tool.pipeline-guard]\nignore = [\n  "PG1",\n  "E501",\n]', 2),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = pyproject(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path.resolve()}:{line}: tool.pipeline-guard.")


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers() | st.lists(st.text(max_size=3), max_size=2)),
    st.text(max_size=60),
)
def test_a_place_is_a_line_of_the_text_or_none(tables: dict[str, object], text: str) -> None:
    lines = text.count("\n") + 1
    for key in tables:
        found = line_of(text, ("tool", key))
        assert found is None or 1 <= found <= lines


def test_a_rule_id_for_some_paths_has_to_exist_too() -> None:
    config = Config(per_path=(PathSettings("old/**", ("PG210",)),))
    with pytest.raises(ConfigError, match=r"per-path\.old/\*\*\.ignore: no rule is called 'PG210'"):
        check_selectors(config, ["PG101", "PG201"])


def test_settings_can_be_handed_to_another_process(tmp_path: Path) -> None:
    config = Config(severity={"PG105": "note"}, sinks=({"kind": "audio_send"},), source=tmp_path)
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_table_of_pyproject_in_a_file_of_its_own_is_told_where_its_keys_go(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[tool.pipeline-guard]\nselect = ["PG2"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.toml: tool: .* stand at top level, without \[tool\.pipeline-guard\]"):
        read_config(file)
