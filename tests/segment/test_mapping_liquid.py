import copy
import itertools
import math

import pytest
from tables import every

from toolkit.errors import MappingError
from toolkit.segment.mapping import Mapping, check_mapping
from toolkit.segment.mapping.liquid import DISABLED_TAGS, UNSUPPORTED_TAGS
from toolkit.segment.mapping.liquid.filters import DISABLED_FILTERS, FILTERS, UNSUPPORTED_FILTERS

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
            "{{ rows[0].name }} {{ rows.last.name }} "
            "{{ rows[-1].id }} {{ rows['0'].id }} {{ rows[zero].id }}",
            "one two 2 1 1",
        ),
        ("{{ rows.size }} {{ traits.name.size }} {{ object.size }} {{ zero.size }}|{{ size }}", "2 3 1 |0"),
        ("{{ object.first }} {{ traits.tags.first }}{{ traits.name.first }}|", "own a|"),
        ("{% if true or false and false %}a{% endif %}{% if false and true or true %}b{% endif %}", "a"),
        ("{% increment n %}{% assign n = 9 %}{{ n }}{% increment n %}{{ n }}", "0919"),
        ("{{ day | date: '%U %W %u %w' }} {{ '2026-03-01' | date: '%U %W' }}", "09 09 3 3 09 08"),
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
        ("{% cycle 'a', 'b' %}", "a"),
        ("{% cycle zero, 'b' %}|{{ nil }}|", "||"),
        ("{% echo zero | plus: 1 %}{% comment %}{{ x }}{% endcomment %}{% # remark %}", "1"),
        ("{% raw %}{{ x }}{% endraw %}{% liquid\nassign z = 2\nif z\necho z\nendif\n%}", "{{ x }}2"),
        ("a {{- 1 -}} b{%- if true -%} c {%- endif %}", "a1bc"),
        (
            "{{ 7 | divided_by: 2 }} {{ 7 | divided_by: 2, true }} "
            "{{ 1 | divided_by: 0 }} {{ 7 | divided_by }}",
            "3.5 3 Infinity NaN",
        ),
        (
            "{{ 'x' | plus: 1 }} {{ '2' | plus: '0x10' }} {{ traits.plan | plus: 1 }} {{ 0.1 | plus: 0.2 }}",
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
        ("{{ 1000000000000000000000 | plus: 0 }}", "1e+21"),
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
        ("{{ traits.tags | join }} {{ traits.tags | compact | size }}", "a b 2"),
        (
            "{{ 'Hello' | slice: 1, 3 }} {{ 'Hello' | slice: -3, 2 }} {{ '\U0001f389!' | slice: 1 }}",
            "ell ll !",
        ),
        ("{{ '\U0001f389' | size }} {{ '\U0001f389' | split: '' | join: '' }}", "2 \U0001f389"),
        ("{{ 'abcdefghij' | truncate: 6 }} {{ 'abc' | truncate: 3 }}", "abc... abc"),
        ("{{ 'a<!-- b -->c<d' | strip_html }} {{ '<!-->a<script>b</script>c' | strip_html }}", "ac<d ac"),
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
        ("{{ rows[0] | json }} {{ nope | json }}{{ 5.0 | json }}", '{"id":1,"name":"one"} 5'),
        (
            "{{ day | date: '%Y-%m-%d %H:%M:%S' }} {{ day | date: '%-d %b %y, %l %p|%j' }}",
            "2026-03-04 05:06:07 4 Mar 26,  5 AM|063",
        ),
        (
            "{{ day | date: '%H:%M %z', 'America/New_York' }} {{ day | date: '%H:%M', 60 }}",
            "00:06 -0500 04:06",
        ),
        (
            "{{ 0 | date: '%F' }} {{ '0' | date: '%s' }} "
            "{{ 'no date' | date: '%Y' }} {{ traits.plan | date }}",
            "%F 0 no date ",
        ),
        (
            "{{ '2026-03-04 05:06' | date: '%H:%M %Z' }} "
            "{{ '2026-03-04T05:06:07.1239+05:30' | date: '%H %L' }}",
            "05:06 UTC 23 123",
        ),
        (
            "{{ day | date: '%y %C %s %3N|%10d|%_5m|%^a|%#B|%q|%e|%Z', 'Europe/Berlin' }}",
            "26 20 1772600767 000|0000000004|    3|WED|MARCH|th| 4|Europe/Berlin",
        ),
        (
            "{{ day | date: '%c' }} {{ '2024-02-30' | date: '%d' }} {{ 1772600767.9 | date }}",
            "3/4/2026, 5:06:07 AM 01 Wednesday, March 4, 2026 at 5:06 am +0000",
        ),
    ],
)
def test_template(template, expected):
    """What Segment's engine prints, where Liquid engines differ: numbers, nothing, order, cutting, dates."""
    assert render(template) == expected


@every(
    "template, what",
    [
        *((f"{{% {tag} x in y %}}", f"turned the tag {tag} off") for tag in DISABLED_TAGS),
        *((f"{{{{ 1 | {name} }}}}", f"turned the filter {name} off") for name in sorted(DISABLED_FILTERS)),
        *((f"{{% {tag} %}}", f"the tag {tag} is not supported") for tag in UNSUPPORTED_TAGS),
        *((f"{{{{ 1 | {f} }}}}", f"the filter {f} is not supported") for f in sorted(UNSUPPORTED_FILTERS)),
        ("{{ a | json: 2 }}", "an argument of the filter json is not supported"),
        ("{{ (1..3) | join }}", "(1..3) is not supported"),
        ("{{ a | default: nil }}", "nil, empty or blank as a value is not supported"),
        ("{% if a < nil %}{% endif %}", "nil, empty or blank as a value is not supported"),
        ("{{ 'a\\n' }}", "a backslash within a tag or output is not supported"),
        ("{% if a <> b %}{% endif %}", "'<>' within a tag or output is not supported"),
        ("{{ a .b }}", "' .' within a tag or output is not supported"),
        ("{{ a['b'c'] }}", "a quote within a key in brackets is not supported"),
        ("{{ a[b[c]] }}", "a bracket within brackets is not supported"),
        ("{% cycle 1, 2 %}{% cycle 1, 2 %}", "a second cycle in a template is not supported"),
        ("{% assign 5 = 1 %}", "the variable name '5' is not supported"),
        ("{{ rows.0.id }}", "a number or a word of the language as a key stands in brackets"),
        ("{{ a.limit }}", "a number or a word of the language as a key stands in brackets"),
        ("{% if not a %}{% endif %}", "disallowed not operator"),
        ("{{ a == b }}", "expected end of expression"),
        ("{% if a | size %}{% endif %}", "expected end of expression"),
    ],
)
def test_what_is_off_or_not_supported(template, what):
    """What Segment has turned off, and what is not supported here, is refused by name with the mapping."""
    (problem,) = check_mapping({"@liquid": f"{{% if on %}}{template}{{% endif %}}"})
    assert what in str(problem)


@every(
    "text",
    ["Mar 4 2026", "3/4/2026", "2026-3-4", "2026-03", "T05:06", "x5", "2026-03-04T25:00", "0000-01-01"],
)
def test_odd_date_texts(text):
    """A text that Node may or may not take for a date is an error of the event, not another date."""
    with pytest.raises(MappingError, match="a date is written as 2026-03-04"):
        render("{{ day | date: '%d' }}", {"day": text})


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
    assert "cannot be read" in str(problem)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'now' | date: '%Y' }}",
        "{{ day | date: '%H', 'Nowhere/City' }}",
        "{{ day | date: '%H', '../../etc/passwd' }}",
        "{{ day | date: '%H', 1440 }}",
        "{{ traits.vip | date: '%H' }}",
        "{{ 1000000000000 | date: '%Y' }}",
        "{{ day | append }}",
        "{{ day | append: 1, 2 }}",
        "{{ 0 | date: '%999999999d' }}",
        "{% assign a = day %}" + "{% assign a = a | append: a %}" * 30,
        "{% assign l = rows %}" + "{% assign l = l | join: l | split: '' %}" * 20,
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
    assert render("{% increment n %}{{ n }}{% assign l = l | join | append: n %}{{ l }}", event) == "12x2"
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
ODD_ARGUMENTS = ["", "v", "v, v", "l", "o", "-1", "0.5, 2", "'x', v", "a: v", "nope, true"]


@every("name", sorted(FILTERS))
def test_filters_take_anything(name):
    """Every filter gives a text, or says why not, for every kind of value and argument."""
    given = ODD_ARGUMENTS[:1] if name == "json" else ODD_ARGUMENTS
    outputs = "".join(f"{{{{ v | {name}: {arguments} }}}}" for arguments in given)
    mappings = [Mapping({"@liquid": outputs})]
    mappings += [Mapping({"@liquid": f"{{{{ l | {name}: {arguments} }}}}"}) for arguments in given]
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
    mapping = Mapping({"@arrayPath": ["s", {"@liquid": "{{ id }}{{ ['0'] }}{{ nope.size }}."}]})
    assert mapping.resolve(scope) in (["1.", "."], ["t.", ".", ".", ".", "x."])
