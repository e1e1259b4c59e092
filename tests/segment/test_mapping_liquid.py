import copy
import itertools
import math

import pytest
from tables import every

from toolkit.errors import MappingError
from toolkit.segment.mapping import Mapping, check_mapping
from toolkit.segment.mapping.liquid.filters import DISABLED_FILTERS, FILTERS
from toolkit.segment.mapping.liquid.tags import DISABLED_TAGS

EVENT = {
    "userId": "u-77",
    "traits": {"name": "Zo\u00eb", "age": 41, "plan": None, "tags": ["a", "b"], "vip": True, "score": 5.0},
    "rows": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    "empty_list": [],
    "object": {"first": "own"},
    "zero": 0,
    "blank_text": " ",
    "day": "2026-03-04T05:06:07Z",
}


def render(template, event=None):
    return Mapping({"@liquid": template}).resolve(EVENT if event is None else event)


@every(
    "template, expected",
    [
        ("plain", "plain"),
        ("", ""),
        (
            "{{ traits.name }}|{{ traits['name'] }}|{{ traits[\"na\" ] }}|{{ nope.nope }}",
            "Zo\u00eb|Zo\u00eb||",
        ),
        (
            "{{ traits.score }} {{ traits.vip }} {{ traits.plan }}{{ traits }} {{ traits.tags }}",
            "5 true [object Object] ab",
        ),
        (
            "{{ rows[0].name }} {{ rows.last.name }} {{ rows[-1].id }} {{ rows['0'].id }} {{ rows.1.id }}",
            "one two 2 1 2",
        ),
        ("{{ rows.size }} {{ traits.name.size }} {{ object.size }} {{ zero.size }}|{{ size }}", "2 3 1 |0"),
        ("{{ object.first }} {{ traits.tags.first }}{{ traits.name.first }}|", "own a|"),
        ("{{ traits.age == 41 }} {{ traits.age > 5 and zero }} {{ not true or false }}", "true true false"),
        ("{{ true or false and false }} {{ false and true or true }} {{ not 1 == 2 }}", "true false true"),
        ("{% increment n %}{% assign n = 9 %}{{ n }}{% increment n %}{{ n }}", "0919"),
        ("{{ 'Mar 4 2026 12:30 pm' | date: '%H' }} {{ '3/4/2026 12:30 AM' | date: '%H' }}", "12 00"),
        (
            "{{ '1/2/49' | date: '%Y' }} {{ '1/2/50' | date: '%Y' }} {{ '32/1/2' | date: '%Y-%m-%d' }}",
            "2049 1950 2032-01-02",
        ),
        ("{{ day | date: '%U %W %u %w' }} {{ '2026-03-01' | date: '%U %W' }}", "09 09 3 3 09 08"),
        ("{{ traits.tags | json: '12345678901' }}", '[\n1234567890"a",\n1234567890"b"\n]'),
        ("{{ (1..3) }} {{ (1..3) | join: '-' }} {{ \"a\\tb\\u0041\\q\" }}", "123 1-2-3 a\tbAq"),
        ("{{ zero traits }}", "0"),
        ("{{ zero | nofilter: 1 | plus: 2, 3 }}", "2"),
        (
            "{% if zero %}0{% endif %}{% if '' %}b{% endif %}{% if traits.plan %}n{% else %}-{% endif %}",
            "0b-",
        ),
        (
            "{% if blank_text == blank %}1{% endif %}{% if empty_list == empty %}2{% endif %}"
            "{% if nope == nil %}3{% endif %}",
            "123",
        ),
        ("{% if traits.plan == nil and traits.plan < 1 %}y{% endif %}", "y"),
        ("{% if traits.tags contains 'b' %}1{% endif %}{% if 'abc' contains 'bc' %}2{% endif %}", "12"),
        ("{% if traits.tags == traits.tags and '10' < '9' and 10 > '9' %}y{% endif %}", "y"),
        ("{% unless zero == 0 %}a{% elsif traits.vip %}b{% else %}c{% endunless %}", "b"),
        ("{% if nope %}a{% elsif zero %}b{% else %}c{% endif %}", "b"),
        (
            "{% assign x = traits.age | minus: 1 %}{{ x }}{% capture y %}<{{ x }}>{% endcapture %}{{ y }}",
            "40<40>",
        ),
        ("{% increment n %}{% increment n %}{% decrement n %}{{ n }}{% decrement m %}", "0111-1"),
        ("{% increment zero %}{{ zero }}", "01"),
        ("{% cycle 'a', 'b' %}{% cycle 'a', 'b' %}{% cycle 'a', 'b' %}{% cycle 'g': 'a', 'b' %}", "abaa"),
        ("{% echo zero | plus: 1 %}{% echo %}{% comment %}{{ x }}{% endcomment %}{% # remark %}", "1"),
        ("{% raw %}{{ x }}{% endraw %}{% liquid\nassign z = 2\nif z\necho z\nendif\n%}", "{{ x }}2"),
        ("a {{- 1 -}} b{%- if true -%} c {%- endif %}", "a1bc"),
        ("{% block x %}in{% endblock %}{% break %}out", "in"),
        ("{% if true %}a{% continue %}b{% endif %}c", "a"),
        (
            "{{ 7 | divided_by: 2 }} {{ 7 | divided_by: 2, true }} "
            "{{ 1 | divided_by: 0 }} {{ 7 | divided_by }}",
            "3.5 3 Infinity NaN",
        ),
        (
            "{{ 'x' | plus: 1 }} {{ '2' | plus: '0x10' }} {{ nil | plus: 1 }} {{ 0.1 | plus: 0.2 }}",
            "1 18 1 0.30000000000000004",
        ),
        ("{{ -7 | modulo: 3 }} {{ 7 | modulo: 0 }} {{ 5 | times: 1.0 }} {{ 1 | minus }}", "2 NaN 5 NaN"),
        (
            "{{ 1.005 | round: 2 }} {{ 2.5 | round }} {{ -2.5 | round }} {{ 1234 | round: -2 }}",
            "1.01 3 -3 1200",
        ),
        (
            "{{ 1.2 | ceil }} {{ -1.2 | floor }} {{ -3 | abs }} {{ 4 | at_least: 5 }} {{ 4 | at_most: 3 }}",
            "2 -2 3 5 3",
        ),
        (
            "{{ 'x' | to_integer }} {{ '4' | to_integer }} {{ 1000000000000000000000 | plus: 0 }}",
            "NaN 4 1e+21",
        ),
        (
            "{{ nope | default: 1 }} {{ '' | default: 2 }} {{ false | default: 3 }} {{ 0 | default: 4 }}",
            "1 2 3 0",
        ),
        ("{{ false | default: 3, allow_false: true }} {{ empty_list | default: 'none' }}", "false none"),
        (
            "{{ 'a-b-c' | split: '-' | size }} "
            "{{ 'a,,' | split: ',' | join: '+' }} {{ 'ab' | split: '' | last }}",
            "3 a b",
        ),
        (
            "{{ traits.tags | push: 'c' | join }} {{ traits.tags | shift | first }} {{ traits.tags | pop }}",
            "a b c b a",
        ),
        (
            "{{ rows | where: 'name', 'two' | first | json }} {{ rows | sum: 'id' }}",
            '{"id":2,"name":"two"} 3',
        ),
        (
            "{{ 'Hello' | slice: 1, 3 }} {{ 'Hello' | slice: -3, 2 }} {{ '\U0001f389!' | slice: 1 }}",
            "ell ll !",
        ),
        ("{{ '\U0001f389' | size }} {{ '\U0001f389' | split: '' | join: '' }}", "2 \U0001f389"),
        (
            "{{ 'one two three' | truncatewords: 2 }} "
            "{{ 'abcdefghij' | truncate: 6 }} {{ 'abc' | truncate: 3 }}",
            "one two... abc... abc",
        ),
        (
            "{{ '<b>x</b> & \"y\"' | escape }} "
            "{{ '&lt;<' | escape_once }} {{ 'a<!-- b -->c<d' | strip_html }}",
            "&lt;b&gt;x&lt;/b&gt; &amp; &#34;y&#34; &lt;&lt; ac<d",
        ),
        (
            "{{ ' a ' | strip }}|{{ 'xxa' | lstrip: 'x' }}"
            "|{{ '\ufeff a\u00a0' | strip }}|{{ 'a \n b' | squish }}",
            "a|a|a|a b",
        ),
        (
            "{{ 'aXbX' | replace: 'X', '-' }} "
            "{{ 'aXbX' | replace_first: 'X', '-' }} {{ 'aXbX' | remove_last: 'X' }}",
            "a-b- a-bX aXb",
        ),
        (
            "{{ 'a b&c' | url_encode }} {{ 'a+b%26' | url_decode }} "
            "{{ '\u00e9 A' | slugify: 'latin' }} {{ 'a/b?' | uri_escape }}",
            "a+b%26c a b& e-a a/b?",
        ),
        (
            "{{ 'x' | sha256 | slice: 0, 8 }} {{ 'x' | base64_encode }} {{ 'eA==' | base64_decode }}",
            "2d711642 eA== x",
        ),
        (
            "{{ rows[0] | json }} {{ nope | json }}{{ 5.0 | json }} {{ 'x' | inspect }}",
            '{"id":1,"name":"one"} 5 "x"',
        ),
        ("{{ traits.tags | json: 2 }}", '[\n  "a",\n  "b"\n]'),
        (
            "{{ day | date: '%Y-%m-%d %H:%M:%S' }} {{ day | date: '%-d %b %y, %l %p|%j' }}",
            "2026-03-04 05:06:07 4 Mar 26,  5 AM|063",
        ),
        (
            "{{ day | date: '%H:%M %z', 'America/New_York' }} {{ day | date: '%H:%M', 60 }}",
            "00:06 -0500 04:06",
        ),
        (
            "{{ 0 | date: '%F' }} {{ '0' | date: '%s' }} {{ 'no date' | date: '%Y' }} {{ nil | date }}",
            "%F 0 no date ",
        ),
        (
            "{{ 'March 4, 2026 5:06 pm EST' | date: '%Y-%m-%dT%H:%M' }} {{ '4/3/26' | date: '%Y-%m-%d' }}",
            "2026-03-04T22:06 2026-04-03",
        ),
        (
            "{{ day | date_to_xmlschema }} {{ day | date_to_rfc822 }} {{ day | date_to_string: 'ordinal' }}",
            "2026-03-04T05:06:07+00:00 Wed, 04 Mar 2026 05:06:07 +0000 4th Mar 2026",
        ),
        (
            "{{ day | date: '%c' }} {{ '2024-02-30' | date: '%d' }} {{ '2024-02-32' | date: '%d' }}",
            "3/4/2026, 5:06:07 AM 01 2024-02-32",
        ),
    ],
)
def test_template(template, expected):
    """What Segment's engine prints, where Liquid engines differ: numbers, nothing, order, cutting, dates."""
    assert render(template) == expected


@pytest.mark.parametrize("tag", DISABLED_TAGS)
def test_disabled_tags(tag):
    """A tag that Segment has turned off is found when the mapping is made."""
    (problem,) = check_mapping({"@liquid": f"{{% {tag} x in y %}}"})
    assert f"turned the tag {tag} off" in str(problem)


@every("name", sorted(DISABLED_FILTERS))
def test_disabled_filters(name):
    """A filter that Segment has turned off fails where it is met, and there only."""
    mapping = Mapping({"@liquid": f"{{% if on %}}{{{{ 1 | {name} }}}}{{% endif %}}"})
    assert mapping.resolve({}) == ""
    with pytest.raises(MappingError, match=f"turned the filter {name} off"):
        mapping.resolve({"on": True})


@every(
    "template",
    [
        "{{ }}",
        "{{ a",
        "{{ a | }} }}{{ | b }}",
        "{{ a | plus 1 }}",
        "{{ a | plus: 1 2 }}",
        "{{ 'a }}",
        "{{ a[1 }}",
        "{{ (1) }}",
        "{{ (1..2 }}",
        "{{% if a %}{% endif %}",
        "{% if %}{% endif %}",
        "{% if a %}",
        "{% if a %}{% else b %}{% endif %}",
        "{% if a %}{% endif b %}",
        "{% endif %}",
        "{% nope %}",
        "{% assign = 1 %}",
        "{% assign a %}",
        "{% capture %}{% endcapture %}",
        "{% cycle %}",
        "{% raw %}",
        "{% %}",
        "{{ " + "a[" * 40 + "0" + "]" * 40 + " }}",
        "{% if a %}" * 61 + "{% endif %}" * 30,
    ],
)
def test_what_is_no_template(template):
    """A template that cannot be read is a mistake in the mapping, found when it is made."""
    (problem,) = check_mapping({"a": {"@liquid": template}})
    assert problem.pointer == "/a/@liquid"
    assert "is not a template" in str(problem)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'now' | date: '%Y' }}",
        "{{ '%zz' | url_decode }}",
        "{{ '%ff' | url_decode }}",
        "{{ '\ud83c' | url_encode }}",
        "{{ '*' | base64_decode }}",
        "{{ day | date: '%H', 'Nowhere/City' }}",
        "{{ day | date: '%H', '../../etc/passwd' }}",
        "{{ day | append }}",
        "{{ day | append: 1, 2 }}",
        "{{ (1..100000000) | size }}",
        "{{ 0 | date: '%999999999d' }}",
        "{% assign a = day %}" + "{% assign a = a | append: a %}" * 30,
        "{% assign l = day | split: 'z' %}" + "{% assign l = l | push: l %}" * 30,
        "{% capture a %}" + "{{ day }}" * 9 + "{% endcapture %}" + "{% assign a = a | replace: '2', a %}" * 9,
        "{% assign a = day | json %}" + "{% assign a = a | json %}" * 36,
    ],
)
def test_rendering_can_fail(template):
    """What a template cannot do, or would take too long or too much memory for, is an error of the event."""
    assert len(template) <= 1000
    with pytest.raises(MappingError) as caught:
        render(template)
    assert caught.value.pointer == "/@liquid"


@pytest.mark.parametrize(
    "path",
    ["__class__", "keys", "items", "get", "__len__", "first.__class__", "append", "upper", "format", "real"],
)
def test_nothing_of_python_shows(path):
    """Attributes and methods of Python's values are no members."""
    event = {"d": {"k": 1}, "l": [1], "s": "text", "n": 5}
    assert render("".join(f"{{{{ {name}.{path} }}}}" for name in event), event) == ""
    assert render("".join(f"{{{{ {name}['{path}'] }}}}" for name in event), event) == ""


def test_events_stay_as_they_are():
    """Counters and variables that go by the names of members do not change the event."""
    event = {"n": 1, "l": ["x"]}
    before = copy.deepcopy(event)
    assert render("{% increment n %}{{ n }}{% assign l = l | push: n %}{{ l }}", event) == "12x2"
    assert event == before


ODD_VALUES = [
    None,
    True,
    0,
    -1.5,
    math.nan,
    math.inf,
    10**400,
    "",
    "x",
    "\ud83c",
    [],
    [[None]],
    {},
    {"size": "x"},
]
ODD_ARGUMENTS = ["", "v", "v, v", "l", "o", "nil", "-1", "0.5, 2", "'x', v", "a: v", "empty, nope"]


@every("name", sorted(FILTERS))
def test_filters_take_anything(name):
    """Every filter gives a text, or says why not, for every kind of value and argument."""
    outputs = "".join(f"{{{{ v | {name}: {arguments} }}}}" for arguments in ODD_ARGUMENTS)
    mappings = [Mapping({"@liquid": outputs})]
    mappings += [Mapping({"@liquid": f"{{{{ l | {name}: {arguments} }}}}"}) for arguments in ODD_ARGUMENTS]
    for value, mapping in itertools.product(ODD_VALUES, mappings):
        result = outcome(mapping, {"v": value, "l": ["x", None], "o": {"k": 1}})
        assert isinstance(result, str) or result.pointer == "/@liquid"


def outcome(mapping, event):
    """The result, or the error."""
    try:
        return mapping.resolve(event)
    except MappingError as error:
        return error


@pytest.mark.parametrize("scope", [{"s": [{"id": 1}, {}]}, {"s": ["text", 5, None, True, ["x"]]}], ids=repr)
def test_any_item_can_be_the_root(scope):
    """In the shape of an array path a template sees the item, whatever it is."""
    mapping = Mapping({"@arrayPath": ["s", {"@liquid": "{{ id }}{{ [0] }}{{ nope.size }}."}]})
    assert mapping.resolve(scope) in (["1.", "."], ["t.", ".", ".", ".", "x."])
