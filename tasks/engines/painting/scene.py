"""From the words of a prompt to what is painted. Words nobody here knows are left out, and said to be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.engines.painting.noise import generator

#: What we can paint, and the words for it. The first word of each line names it.
TIMES = ("dawn", "noon", "dusk", "night")
PLACES = ("mountains", "sea", "forest", "city", "desert", "hills")
WORDS = {
    "dawn": "dawn sunrise daybreak morning",
    "noon": "noon day midday daylight sunny afternoon bright summer",
    "dusk": "dusk sunset evening twilight golden",
    "night": "night midnight moonlit moonlight starlit nocturnal",
    "mountains": "mountain alp peak summit cliff highland fjord rock",
    "sea": "sea ocean bay coast lake water beach harbour harbor shore river island fjord",
    "forest": "forest wood tree pine jungle fir spruce",
    "city": "city town skyline skyscraper building street tower downtown village",
    "desert": "desert dune sand sahara canyon",
    "hills": "hill meadow field valley grass countryside pasture prairie",
    "snow": "snow snowy winter ice frozen glacier arctic",
    "storm": "storm stormy thunder rain rainy tempest lightning",
    "clouds": "cloud cloudy overcast",
    "fog": "fog foggy mist misty haze hazy",
    "stars": "star starry",
    "lighthouse": "lighthouse beacon",
    "boat": "boat sail sailing ship yacht sailboat",
    "birds": "bird gull seagull flock",
}
_MEANINGS = {word: name for name, words in WORDS.items() for word in words.split()}
_MEANINGS["fjord"] = "sea"
_FJORD = ("sea", "mountains")


@dataclass(frozen=True, slots=True)
class Scene:
    """`things` holds every name of WORDS the prompt asked for; time and places are the seed's when it did not."""

    time: str
    places: frozenset[str]
    things: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.things or name in self.places


def read_prompt(prompt: str, seed: int) -> tuple[Scene, tuple[str, ...]]:
    """The scene, and the words of the prompt it was made from, in their order."""
    understood = dict[str, str]()
    for word in re.findall(r"[a-z]+", prompt.lower()):
        meaning = _meaning(word)
        if meaning:
            understood[word] = meaning
    names = set(understood.values()) | set(_FJORD if "fjord" in understood or "fjords" in understood else ())
    rng = generator(seed, "scene")
    time = str(rng.choice(TIMES))
    places = {str(rng.choice(PLACES[:3])), "mountains"}
    asked_times = [name for name in understood.values() if name in TIMES]
    return (
        Scene(
            time=asked_times[-1] if asked_times else _usual_time(names) or time,
            places=frozenset(names & set(PLACES) or places),
            things=frozenset(names),
        ),
        tuple(understood),
    )


def _usual_time(names: set[str]) -> str | None:
    return "night" if "stars" in names else "noon" if "storm" in names else None


def _meaning(word: str) -> str | None:
    stems = [word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)]
    return next((_MEANINGS[stem] for stem in stems if stem in _MEANINGS), None)
