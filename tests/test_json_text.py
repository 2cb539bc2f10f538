"""JSON edited as text: the value changes, every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcheck.json_text import add_to_list, drop_value, pointer, set_value

CONFIG = '{\n    "b": 1.50e3,\n    "a": "\\u00e9",\n    "n": {"x": [1,2 , 3]}\n}\n\n'
KEYS = st.sampled_from(["a", "b", "c/d", "~e", "ü", "rope_scaling", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, width=16) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
FORMS = st.fixed_dictionaries(
    {"indent": st.sampled_from([None, 1, 2, 4, "\t"]), "ensure_ascii": st.booleans(), "sort_keys": st.booleans()}
)


def lines_changed(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_value_is_replaced_and_no_other_byte() -> None:
    assert set_value(CONFIG, "/b", 2) == CONFIG.replace("1.50e3", "2")
    assert set_value(CONFIG, "/n/x/1", "ü") == CONFIG.replace("1,2 , 3", '1,"\\u00fc" , 3')


def test_a_member_is_added_at_the_end_in_the_manner_of_the_file() -> None:
    assert set_value(CONFIG, "/z", [4]) == CONFIG.replace("3]}\n}", '3]},\n    "z": [4]\n}')
    assert set_value(CONFIG, "/n/y", 0) == CONFIG.replace("3]}", '3], "y": 0}')


def test_a_member_is_added_where_sorted_keys_want_it_and_only_its_own_line_is_new() -> None:
    before = json.dumps({"a": 1, "b": 2, "d": 3}, indent=2)
    assert lines_changed(before, set_value(before, "/c", 9)) == ([], ['  "c": 9,'])


def test_objects_on_the_way_are_made() -> None:
    assert json.loads(set_value("{}", "/a/b/c", 1)) == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("text", "at", "left"),
    [
        ('{"a": 1, "b": 2}', "/a", '{"b": 2}'),
        ('{"a": 1, "b": 2}', "/b", '{"a": 1}'),
        ('{\n  "a": 1\n}\n', "/a", "{}\n"),
        ("[1, 2, 3]", "/1", "[1, 3]"),
        ('{"a": 1, "b": 2, "a": 3}', "/a", '{"b": 2}'),
    ],
)
def test_a_member_is_dropped_with_its_comma(text: str, at: str, left: str) -> None:
    assert drop_value(text, at) == left


@pytest.mark.parametrize(
    ("text", "longer"),
    [
        ('{"eos": 2}', '{"eos": [2, 7]}'),
        ('{"eos": [2]}', '{"eos": [2, 7]}'),
        ('{"eos": []}', '{"eos": [7]}'),
        ('{"eos": null}', '{"eos": [7]}'),
        ("{}", '{"eos": [7]}'),
        ('{\n  "eos": [\n    2\n  ]\n}', '{\n  "eos": [\n    2,\n    7\n  ]\n}'),
    ],
)
def test_a_list_grows_by_a_line_or_a_number(text: str, longer: str) -> None:
    assert add_to_list(text, "/eos", 7) == longer


def test_of_a_key_that_stands_twice_the_one_is_changed_that_parsers_take() -> None:
    assert set_value('{"a": 1, "a": 2}', "/a", 3) == '{"a": 1, "a": 3}'


def test_line_ends_and_the_spelling_of_other_alphabets_stay() -> None:
    windows = '{\r\n  "a": {\r\n    "b": 1\r\n  }\r\n}\r\n'
    assert "\n" not in set_value(windows, "/a", {"c": 1, "d": 2}).replace("\r\n", "")
    assert set_value('{"a": "\\u00e9", "b": 0}', "/b", "ü") == '{"a": "\\u00e9", "b": "\\u00fc"}'
    assert set_value('{"a": "é", "b": 0}', "/b", "ü") == '{"a": "é", "b": "ü"}'


@pytest.mark.parametrize("at", ["/a/b", "/a/b/c"])
def test_a_way_through_something_that_is_no_object_is_refused(at: str) -> None:
    with pytest.raises(KeyError):
        set_value('{"a": 1}', at, 2)


@given(OBJECTS, st.lists(KEYS, min_size=1, max_size=2), VALUES, FORMS)
def test_setting_is_what_setting_in_the_parsed_document_is(
    document: dict[str, Any], path: list[str], value: Any, form: dict[str, Any]
) -> None:
    text = json.dumps(document, **form)
    expected = json.loads(text)
    place = expected
    for key in path[:-1]:
        if not isinstance(place.setdefault(key, {}), dict):
            return
        place = place[key]
    place[path[-1]] = value
    assert json.loads(set_value(text, pointer(*path), value)) == expected


@given(OBJECTS, FORMS, st.data())
def test_dropping_what_was_added_gives_the_same_document(
    document: dict[str, Any], form: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(document, **form)
    key = data.draw(KEYS.filter(lambda k: k not in document))
    assert json.loads(drop_value(set_value(text, pointer(key), 1), pointer(key))) == document
