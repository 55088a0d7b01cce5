import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.tasks import family
from llm_adapt.prompts.formats import FORMATS, named
from llm_adapt.prompts.history import Line, Tally, tallies
from llm_adapt.prompts.renderer import Renderer

BANDIT, GRID, ROOM, MDP = map(family, ("bandit:k=5,n=30", "gridnavi", "darkroom", "tabular_mdp"))
RAW = [name for name, format in FORMATS.items() if format.history == "raw"]
STORIES = [name for name in RAW if FORMATS[name].scenario != "plain"]
SUMMARIES = [name for name in FORMATS if name not in RAW]

rewards = st.integers(-500, 500).map(lambda hundredths: hundredths / 100)
pulls = st.lists(st.tuples(st.integers(0, 4), rewards), max_size=12)


def bandit_history(pulls):
    return [*([Line((), arm, reward, ())] for arm, reward in pulls), []]


@st.composite
def walks(draw, places):
    """Some whole episodes, and the beginning of one."""

    def lines(over):
        steps = draw(
            st.lists(st.tuples(places, st.integers(0, 4), rewards), min_size=int(over), max_size=5)
        )
        found = [Line(place, action, reward, None) for place, action, reward in steps]
        return [*found[:-1], found[-1]._replace(over=draw(places))] if over else found

    return [*(lines(True) for _ in range(draw(st.integers(0, 3)))), lines(False)]


cells = st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float))
states = st.tuples(st.integers(0, 9))


@pytest.mark.parametrize("name", RAW)
@given(pulls=pulls)
def test_a_bandits_history_is_read_back(name, pulls):
    renderer, history, trial = Renderer(named(name), BANDIT), bandit_history(pulls), Trial(30, 1)
    messages = renderer.write(history, (), trial)
    assert renderer.read(messages, trial) == history


@pytest.mark.parametrize("name", [name for name in RAW if name not in STORIES])
@pytest.mark.parametrize(("family", "places"), [(GRID, cells), (ROOM, cells), (MDP, states)])
@given(data=st.data())
def test_a_walk_is_read_back(name, family, places, data):
    renderer, history = Renderer(named(name), family), data.draw(walks(places))
    trial = family.trial("id")
    messages = renderer.write(history, data.draw(places), trial)
    assert renderer.read(messages, trial) == history


@pytest.mark.parametrize("name", SUMMARIES)
@given(pulls=pulls)
def test_a_summary_is_read_back(name, pulls):
    renderer, history, trial = Renderer(named(name), BANDIT), bandit_history(pulls), Trial(30, 1)
    told = renderer.write(history, (), trial)
    assert renderer.read_summary(told, trial) == tallies(history, 5)


def test_all_formats_tell_the_same_history():
    history, trial = bandit_history([(2, 1.0), (0, 0.0), (2, 1.0)]), Trial(30, 1)
    for name in RAW:
        renderer = Renderer(named(name), BANDIT)
        assert renderer.read(renderer.write(history, (), trial), trial) == history
    for name in SUMMARIES:
        renderer = Renderer(named(name), BANDIT)
        told = renderer.read_summary(renderer.write(history, (), trial), trial)
        assert told == [Tally(1, 0.0), Tally(0, 0.0), Tally(2, 1.0), Tally(0, 0.0), Tally(0, 0.0)]


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if format.appends])
def test_a_format_that_appends_only_appends(name):
    renderer, trial = Renderer(named(name), BANDIT), Trial(30, 1)
    before: list = []
    for length in range(5):
        messages = renderer.write(
            bandit_history([(arm % 5, 1.0) for arm in range(length)]), (), trial
        )
        if renderer.format.layout == "dialogue":
            assert messages[: len(before)] == before
        else:
            (message,) = messages
            assert message.content.startswith(before[0].content if before else "")
        before = messages


def test_every_format_is_another_text():
    history, trial = bandit_history([(2, 1.0), (0, 0.0)]), Trial(30, 1)
    texts = {name: str(Renderer(named(name), BANDIT).write(history, (), trial)) for name in FORMATS}
    texts.pop("letters")  # arms have no names of their own, so that letters are the default
    texts.pop("examples")  # without examples it is as log
    assert len(set(texts.values())) == len(texts) >= 10


def test_labels_follow_the_order_and_stay_with_their_arms():
    given, reversed_ = (Renderer(named(name), BANDIT) for name in ("log", "reversed"))
    assert given.labels == reversed_.labels
    assert "A, B, C, D, E" in given.preamble(Trial(3, 1))
    assert "E, D, C, B, A" in reversed_.preamble(Trial(3, 1))


def test_digits_have_as_many_places_as_the_last():
    labels = Renderer(named("digits"), family("bandit:k=12,n=5")).labels
    assert labels[0] == "01"
    assert labels[-1] == "12"


@pytest.mark.parametrize(
    ("name", "spec", "text"),
    [
        ("log", "bandit:k=30,n=5", "26 labels"),
        ("summary", "gridnavi", "has cells"),
        ("buttons", "tabular_mdp", "has states"),
        ("log", "point_nav", "no description"),
    ],
)
def test_what_cannot_be_told_is_refused(name, spec, text):
    with pytest.raises(UserError, match=text):
        Renderer(named(name), family(spec))


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'summary'"):
        named("summry")


def test_another_text_is_not_read():
    renderer, trial = Renderer(named("log"), BANDIT), Trial(30, 1)
    (message,) = renderer.write(bandit_history([(1, 1.0)]), (), trial)
    with pytest.raises(ValueError, match="Not of format"):
        renderer.read([message._replace(content=message.content.replace("reward", "prize"))], trial)
