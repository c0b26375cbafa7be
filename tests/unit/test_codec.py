"""The codec: bytes there and back, and what it refuses; the log's own suite has the rest."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import Event, UnknownEvent, Upcaster
from eventlog.codec import Codec
from eventlog.errors import DecodeError, InvalidEvent
from eventlog.events import EVENTS, event_type
from eventlog.events.runs import RunMetricLogged, RunStarted, RunUpdated

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Anything(Event, frozen=True, kw_only=True, tag="codec.anything"):
    value: Any = None


@pytest.fixture
def codec() -> Codec:
    return Codec()


@pytest.mark.parametrize("cls", EVENTS)
def test_every_shipped_event_has_a_tag_of_its_own_and_a_schema(cls: type[Event]) -> None:
    assert Codec().knows(event_type(cls))
    assert cls.schema_version >= 1
    assert cls.__struct_config__.frozen


def test_a_tag_of_two_classes_is_refused_with_the_modules_of_both() -> None:
    classes = [
        msgspec.defstruct("DeployFinished", [], bases=(Event,), module=module, frozen=True, kw_only=True, tag="a.done")
        for module in ("shop.events", "deploys")
    ]
    with pytest.raises(InvalidEvent, match=r"belongs to shop\.events\.DeployFinished, not to deploys\.DeployFinished"):
        Codec(classes)  # type: ignore[arg-type]


def test_a_value_equal_to_its_default_is_stored_only_by_a_class_that_says_so() -> None:
    class Short(Event, frozen=True, kw_only=True, tag="default.short"):
        region: str = "eu"

    class Whole(Event, frozen=True, kw_only=True, omit_defaults=False, tag="default.whole"):
        region: str = "eu"

    class Changed(Event, frozen=True, kw_only=True, omit_defaults=False, tag="default.whole"):
        region: str = "us"

    codec = Codec([Short, Whole])
    assert codec.encode(Short(region="eu"))[3] == b'{"type":"default.short"}'
    data = codec.encode(Whole())[3]
    assert data == b'{"type":"default.whole","region":"eu"}'
    assert Codec([Changed]).decode("default.whole", 1, data) == Changed(region="eu")


def test_tags_are_never_given_twice() -> None:
    tags = [event_type(cls) for cls in EVENTS]
    assert len(tags) == len(set(tags))


@given(JSON)
def test_any_json_value_comes_back(value: Any) -> None:
    codec = Codec([Anything])
    tag, tag_bytes, schema, data, event = codec.encode(Anything(value=value))
    assert (tag, tag_bytes, schema) == ("codec.anything", b"codec.anything", 1)
    assert event == codec.decode(tag, schema, data) == codec.decode(tag, schema, data.decode())
    assert event == Anything(value=value)
    assert codec.encode(event)[3] == data


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_any_unknown_object_comes_back(value: dict[str, Any]) -> None:
    codec = Codec()
    tag, _, schema, data, event = codec.encode(UnknownEvent(tag="other.done", data=value))
    assert event == codec.decode(tag, schema, data) == UnknownEvent(tag="other.done", data=value)


def test_fields_that_are_unset_are_not_stored(codec: Codec) -> None:
    assert codec.encode(RunUpdated())[3] == b'{"type":"run.updated"}'
    assert codec.encode(RunUpdated(project_id=None))[3] == b'{"type":"run.updated","project_id":null}'
    assert codec.encode(RunUpdated(project_id=None))[4] == RunUpdated(project_id=None)


def test_raw_bytes_are_kept_byte_for_byte(codec: Codec) -> None:
    odd = b'{ "type" : "run.started" ,\n "command":"\\u0061", "new":[1e3]}'
    tag, _, _, data, event = codec.encode_raw("run.started", 1, odd)
    assert data == odd
    assert event == RunStarted(command="a")
    assert tag == "run.started"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"nul", b'{"type":"run.started"}', b"\xff\xfe{}", b'{"command":5}', b"[" * 200_000]
)
def test_raw_bytes_that_do_not_decode_are_refused(codec: Codec, data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        codec.encode_raw("run.started", 1, data)


@pytest.mark.parametrize(
    ("tag", "schema", "data"),
    [
        ("run.started", 1, "{}"),
        ("run.started", 1, '{"type":"run.noted","note":""}'),
        ("run.metric_logged", 1, '{"type":"run.metric_logged","name":"x","value":"seven"}'),
        ("run.started", 0, '{"type":"run.started","command":"x"}'),
        ("other.done", 1, "{"),
        ("other.done", 1, "[" * 200_000),
    ],
)
def test_a_stored_record_that_its_class_does_not_take_is_a_decode_error(tag: str, schema: int, data: str) -> None:
    with pytest.raises(DecodeError, match=tag.replace(".", r"\.")):
        Codec().decode(tag, schema, data)


@pytest.mark.parametrize("value", [1.5, -0.0, 1e308, 5e-324, "nan", "inf", "-inf"])
def test_metric_values_come_back(codec: Codec, value: Any) -> None:
    event = RunMetricLogged(name="x", value=value)
    assert repr(codec.decode("run.metric_logged", 1, codec.encode(event)[3])) == repr(event)


def test_a_class_is_learned_when_it_is_first_encoded() -> None:
    codec = Codec()
    assert not codec.knows("codec.anything")
    codec.encode(Anything())
    assert codec.knows("codec.anything")
    codec.learn(Anything)


def test_two_classes_of_one_name_from_two_modules_do_not_share_a_tag() -> None:
    other = msgspec.defstruct(
        "Anything",
        [("other", int, 0)],
        bases=(Event,),
        module="somewhere.else",
        tag="codec.anything",
        frozen=True,
        kw_only=True,
    )
    codec = Codec([Anything])
    with pytest.raises(InvalidEvent, match=r"codec\.anything"):
        codec.learn(other)  # type: ignore[arg-type]
    assert codec.decode("codec.anything", 1, '{"type":"codec.anything","value":1}') == Anything(value=1)


def test_gaps_name_every_missing_step() -> None:
    class Fourth(Event, frozen=True, kw_only=True, tag="codec.fourth"):
        schema_version: ClassVar[int] = 4

    codec = Codec([Fourth], [Upcaster("codec.fourth", 2, dict)])
    assert codec.gaps() == [
        "no upcaster takes codec.fourth from schema 1 to 2",
        "no upcaster takes codec.fourth from schema 3 to 4",
    ]


def test_an_upcaster_runs_only_for_older_records() -> None:
    class Newer(Event, frozen=True, kw_only=True, tag="codec.newer"):
        schema_version: ClassVar[int] = 2
        value: int

    codec = Codec([Newer], [Upcaster("codec.newer", 1, lambda data: {**data, "value": data["value"] + 1})])
    data = '{"type":"codec.newer","value":1}'
    assert codec.decode("codec.newer", 1, data) == Newer(value=2)
    assert codec.decode("codec.newer", 2, data) == Newer(value=1)
    assert codec.decode("codec.newer", 3, data) == UnknownEvent(
        tag="codec.newer", data=msgspec.json.decode(data), schema=3
    )


class Part(msgspec.Struct):
    n: int = 0
    inner: list[Part] = []


T = TypeVar("T")


class Box(msgspec.Struct, Generic[T]):
    held: T


class Counted(Event, frozen=True, kw_only=True, tag="codec.counted"):
    n: int | str | None = None
    by_name: dict[str, int] = {}
    by_number: dict[int, str] = {}
    pair: tuple[str, int] = ("", 0)
    parts: list[Part | None] = []
    name: Box[str] | None = None
    box: Box[int] | None = None
    any: Any = None


BEYOND = (2**63, -(2**63) - 1, 2**64, 2**70)


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize(
    ("made", "path"),
    [
        (lambda n: Counted(n=n), "$.n"),
        (lambda n: Counted(by_name={"a": n}), "$.by_name.a"),
        (lambda n: Counted(by_number={n: "a"}), "$.by_number (a key)"),
        (lambda n: Counted(pair=("a", n)), "$.pair[1]"),
        (lambda n: Counted(parts=[None, Part(inner=[Part(n=n)])]), "$.parts[1].inner[0].n"),
        (lambda n: Counted(name=Box("a"), box=Box(n)), "$.box.held"),
    ],
)
def test_an_integer_beyond_64_bits_is_refused_where_the_class_has_an_integer(
    codec: Codec, made: Any, path: str, number: int
) -> None:
    event = made(number)
    with pytest.raises(InvalidEvent, match="beyond 64 bits") as caught:
        codec.encode(event)
    assert caught.value.path == path
    with pytest.raises(InvalidEvent, match="beyond 64 bits"):
        codec.encode(UnknownEvent(tag="codec.counted", data=msgspec.to_builtins(event, str_keys=True)))
    for fits in (2**63 - 1, -(2**63)):
        assert codec.encode(made(fits))[4] == made(fits)


def test_however_deep_integers_are_nested_the_event_is_encoded_or_refused(codec: Codec) -> None:
    part, refused = Part(n=1), []
    for depth in range(1000):
        part = Part(inner=[part])
        try:
            codec.encode(Counted(parts=[part]))
        except InvalidEvent as error:
            assert "nested too deeply" in error.message
            refused.append(depth)
    assert 100 < refused[0] == 1000 - len(refused)


@pytest.mark.parametrize("number", BEYOND)
def test_an_integer_of_any_size_is_kept_where_no_integer_is_asked_for(codec: Codec, number: int) -> None:
    for event in (Anything(value=number), Counted(any={"n": [number]}), UnknownEvent(tag="a.b", data={"n": number})):
        assert codec.encode(event)[4] == event


def test_a_stored_integer_beyond_64_bits_is_read(codec: Codec) -> None:
    codec.learn(Counted)
    text = f'{{"type":"codec.counted","n":{2**70}}}'
    assert codec.decode("codec.counted", 1, text) == Counted(n=2**70) == codec.check("codec.counted", 1, text)
